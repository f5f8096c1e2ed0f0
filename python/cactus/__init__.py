"""On-device AI: language models, speech, embeddings and retrieval in one process."""
