"""Text to token ids and back; building a tokenizer from a GGUF file, or a vocabulary and merges."""

from __future__ import annotations

from cactus.tokenizer.build import VOCABULARY_FILES, build_tokenizer
from cactus.tokenizer.check import read_backend
from cactus.tokenizer.config import TokenizerConfig
from cactus.tokenizer.document import byte_level, document
from cactus.tokenizer.gguf import PRE_TOKENIZERS, write_tokenizer
from cactus.tokenizer.stream import StreamDecoder
from cactus.tokenizer.tokenizer import Tokenizer

__all__ = [
    "PRE_TOKENIZERS",
    "VOCABULARY_FILES",
    "StreamDecoder",
    "Tokenizer",
    "TokenizerConfig",
    "build_tokenizer",
    "byte_level",
    "document",
    "read_backend",
    "write_tokenizer",
]
