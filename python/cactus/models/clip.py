"""CLIP (Radford et al. 2021): a vector of a text's end, and one of an image's class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cactus.inputs.fields import Fields

from . import base, dual
from .vision import VisionConfig, part, transformer

ABILITIES = ("embed", "embed_image")

_TEXT = {
    "vocab_size": 49_408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
_VISION: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
}
"""What a config means where it says nothing."""


@dataclass(frozen=True)
class Config(dual.DualConfig):
    """CLIP has nothing of its own beyond what dual encoders share."""

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        """Read and check config.json; ModelFormatError or UnsupportedModel naming the key."""
        tower = part(fields, "vision_config")
        given = {key: each for key, each in _VISION.items() if not tower.has(key)}
        tower = tower.updated(given)
        sizes = transformer(tower, eps=1e-5)
        side = tower.integer("image_size", sizes["patch_size"], 1 << 14) // sizes["patch_size"]
        vision = VisionConfig(
            **sizes,
            positions=(side, side),
            factor=1,
            image_token_id=-1,
            feature_width=fields.integer("projection_dim", 1, base.MAX_WIDTH, 512),
            class_token=True,
            head="projection",
        )
        text = dual.text_sizes(part(fields, "text_config"), _TEXT)
        return cls(model_type="clip", causal=True, vision=vision, **text)


build = dual.build
