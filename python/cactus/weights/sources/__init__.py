"""What can be converted: checkpoints, GGUF files, CTranslate2 models, adapters, as one shape."""
