"""SigLIP (Zhai et al. 2023), and SigLIP 2 on square images: a head that attends to all patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cactus.inputs.fields import Fields

from . import dual
from .vision import VisionConfig, part, transformer

ABILITIES = ("embed", "embed_image")

_TEXT = {
    "vocab_size": 32_000,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 64,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
VISION: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
}
"""What a config means where it says nothing."""


@dataclass(frozen=True)
class Config(dual.DualConfig):
    """SigLIP has nothing of its own beyond what dual encoders share."""

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        """Read and check config.json; ModelFormatError or UnsupportedModel naming the key."""
        tower = vision_part(fields)
        sizes = transformer(tower)
        side = tower.integer("image_size", sizes["patch_size"], 1 << 14) // sizes["patch_size"]
        return cls(**arguments(fields, "siglip", sizes | {"positions": (side, side)}))


def vision_part(fields: Fields) -> Fields:
    """The ``vision_config``, with what it means where it says nothing."""
    tower = part(fields, "vision_config")
    return tower.updated({key: each for key, each in VISION.items() if not tower.has(key)})


def arguments(fields: Fields, model_type: str, sizes: dict[str, Any]) -> dict[str, Any]:
    """Those of a config whose tower has these sizes."""
    vision = VisionConfig(
        **sizes,
        factor=1,
        image_token_id=-1,
        feature_width=sizes["hidden_size"],
        head="attention",
    )
    text = dual.text_sizes(part(fields, "text_config"), _TEXT)
    return {"model_type": model_type, "causal": False, "vision": vision, **text}


build = dual.build
