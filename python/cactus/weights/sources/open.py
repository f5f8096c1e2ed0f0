"""Opening whatever a model to convert lies in."""

from __future__ import annotations

import os
from pathlib import Path

from cactus.errors import InvalidRequest, ModelNotFound, UnsupportedModel
from cactus.inputs.files import is_gguf
from cactus.weights.sources.checkpoint import PICKLE_ADVICE, PICKLE_SUFFIXES, open_checkpoint
from cactus.weights.sources.ctranslate2 import is_ctranslate2
from cactus.weights.sources.ctranslate2_whisper import open_ctranslate2
from cactus.weights.sources.from_gguf import open_gguf
from cactus.weights.sources.source import Source


def open_source(path: Path, name: str = "", mmproj: Path | None = None) -> Source:
    """Open a GGUF file, a Hugging Face folder or a Whisper model in CTranslate2's format.

    `name` is what the model is called, where that is more than the path tells. `mmproj` is the file
    with which a GGUF file's model sees, where that is not the one beside it.

    Raises `ModelNotFound`, `UnsupportedModel` (pickle, other formats) or `ModelFormatError`.
    """
    if mmproj is not None and not is_gguf(path):
        raise InvalidRequest(f"{path} is not a GGUF file, so it has no mmproj file")
    if os.path.isdir(path):
        if is_ctranslate2(path):
            return open_ctranslate2(path)
        return open_checkpoint(path, name)
    if not os.path.exists(path):
        raise ModelNotFound(f"{path}: no such file or folder")
    if is_gguf(path):
        return open_gguf(path, name, mmproj)
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise UnsupportedModel(f"{path}: {PICKLE_ADVICE}")
    if path.suffix.lower() == ".safetensors":
        raise UnsupportedModel(
            f"{path}: a safetensors file alone has no config and tokenizer; give its folder"
        )
    return open_gguf(path, name, mmproj)
