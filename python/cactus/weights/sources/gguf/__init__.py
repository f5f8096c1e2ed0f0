"""GGUF files: how they are read, their blocks, and their names in terms of checkpoints."""
