"""What each architecture can do, by the `ABILITIES` of its model file.

Written by tools/gen_abilities.py; do not edit. It imports nothing, so that lists and refusals are
quick. An ability is named after the method of `cactus.Model` that asks for it.
"""

from __future__ import annotations

from typing import Literal

Ability = Literal[
    "chat",
    "complete",
    "detect_language",
    "embed_audio",
    "transcribe",
]

ABILITIES: dict[str, tuple[Ability, ...]] = {
    "gemma3_text": (
        "chat",
        "complete",
    ),
    "granite": (
        "chat",
        "complete",
    ),
    "lfm2": (
        "chat",
        "complete",
    ),
    "llama": (
        "chat",
        "complete",
    ),
    "phi3": (
        "chat",
        "complete",
    ),
    "qwen2": (
        "chat",
        "complete",
    ),
    "qwen3": (
        "chat",
        "complete",
    ),
    "smollm3": (
        "chat",
        "complete",
    ),
    "whisper": (
        "transcribe",
        "detect_language",
        "embed_audio",
    ),
}
