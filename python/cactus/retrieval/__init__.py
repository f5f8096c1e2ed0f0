"""The index of a folder of documents, and the search in it."""
