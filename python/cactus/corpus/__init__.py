"""A folder of documents that is searched, and that models answer from."""
