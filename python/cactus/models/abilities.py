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
    "embed",
    "embed_audio",
    "embed_image",
    "rerank",
    "see",
    "transcribe",
]

ABILITIES: dict[str, tuple[Ability, ...]] = {
    "bert": (
        "embed",
        "rerank",
    ),
    "clip": (
        "embed",
        "embed_image",
    ),
    "gemma3": (
        "chat",
        "complete",
        "see",
        "embed_image",
        "embed",
    ),
    "gemma3_text": (
        "chat",
        "complete",
        "embed",
    ),
    "granite": (
        "chat",
        "complete",
        "embed",
    ),
    "idefics3": (
        "chat",
        "complete",
        "see",
        "embed_image",
        "embed",
    ),
    "lfm2": (
        "chat",
        "complete",
        "embed",
    ),
    "lfm2_vl": (
        "chat",
        "complete",
        "see",
        "embed_image",
        "embed",
    ),
    "llama": (
        "chat",
        "complete",
        "embed",
    ),
    "model2vec": ("embed",),
    "modernbert": (
        "embed",
        "rerank",
    ),
    "nomic_bert": ("embed",),
    "phi3": (
        "chat",
        "complete",
        "embed",
    ),
    "qwen2": (
        "chat",
        "complete",
        "embed",
    ),
    "qwen2_5_vl": (
        "chat",
        "complete",
        "see",
        "embed_image",
        "embed",
    ),
    "qwen2_vl": (
        "chat",
        "complete",
        "see",
        "embed_image",
        "embed",
    ),
    "qwen3": (
        "chat",
        "complete",
        "embed",
    ),
    "qwen3_vl": (
        "chat",
        "complete",
        "see",
        "embed_image",
        "embed",
    ),
    "roberta": (
        "embed",
        "rerank",
    ),
    "siglip": (
        "embed",
        "embed_image",
    ),
    "siglip2": (
        "embed",
        "embed_image",
    ),
    "smollm3": (
        "chat",
        "complete",
        "embed",
    ),
    "smolvlm": (
        "chat",
        "complete",
        "see",
        "embed_image",
        "embed",
    ),
    "whisper": (
        "transcribe",
        "detect_language",
        "embed_audio",
    ),
    "xlm-roberta": (
        "embed",
        "rerank",
    ),
}
