"""Speech to text: Whisper's prompts, rules and searches, and recordings of any length."""

from __future__ import annotations

from pathlib import Path

from cactus.errors import CactusError, UnsupportedModel

ARCHITECTURES = frozenset({"whisper"})
"""The ``model_type`` values that listen; all others chat."""


def refusal_of_text(name: str, architecture: str) -> UnsupportedModel:
    """What a speech model says to whoever wants it to read or write text."""
    return UnsupportedModel(
        f"{name} is a speech model ({architecture}): it takes recordings, not text; "
        "see cactus transcribe, Model.transcribe or cactus_transcribe"
    )


def is_speech_model(folder: Path) -> bool:
    """Whether a weights folder holds a speech model; False where that cannot be read."""
    from cactus.weights.files import read_json

    try:
        return read_json(folder / "config.json").get("model_type") in ARCHITECTURES
    except CactusError:  # whoever loads it says what is wrong with it
        return False
