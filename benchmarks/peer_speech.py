"""faster-whisper and whisper.cpp as peers: an environment of their own, and what scores texts."""

from __future__ import annotations

from pathlib import Path

from runner import Progress, environment

FASTER_WHISPER, WHISPER_CPP = "faster-whisper", "pywhispercpp"
VERSIONS = {FASTER_WHISPER: "1.2.1", WHISPER_CPP: "1.5.1", "ctranslate2": "4.8.5"}
SCORING = ["jiwer==4.0.0", "whisper-normalizer==0.1.15"]


def prepare(progress: Progress) -> Path:
    """The Python of an environment with both; whisper.cpp is built for this very processor."""
    pinned = [f"{name}=={version}" for name, version in VERSIONS.items()]
    return environment("speech", ["--no-binary", WHISPER_CPP, *pinned, *SCORING], progress)


def library_path(python: Path) -> dict[str, str]:
    """Where whisper.cpp's libraries lie: beside the packages, when it is built on the machine."""
    (folder,) = python.parents[1].glob("lib/python*/site-packages")
    return {"LD_LIBRARY_PATH": str(folder)}
