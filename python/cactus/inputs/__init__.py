"""What comes from callers and from files, checked before it is used; knows nothing of models."""
