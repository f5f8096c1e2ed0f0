"""Getting files from elsewhere: HTTP, the Hugging Face hub and its cache, packages of an index."""
