"""Speech to text: Whisper's prompts, rules and searches, and recordings of any length."""

from __future__ import annotations

from pathlib import Path

from cactus.errors import CactusError
from cactus.weights.catalog import SPEECH_ARCHITECTURES


def is_speech_model(folder: Path) -> bool:
    """Whether a weights folder holds a speech model; False where that cannot be read."""
    from cactus.weights.files import read_json

    try:
        return read_json(folder / "config.json").get("model_type") in SPEECH_ARCHITECTURES
    except CactusError:  # whoever loads it says what is wrong with it
        return False
