"""Qwen2-VL (Qwen team 2024): any resolution, rows and columns by rotation, and Qwen2."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from cactus.inputs.fields import Fields

from .. import nn
from . import qwen2, qwen_vision, vit
from .vision import VisionConfig, VisionLM, transformer

ABILITIES = ("chat", "complete", "see", "embed_image")


@dataclass(frozen=True)
class Config(qwen2.Config):
    """The text's config, and ``vision``."""

    vision: VisionConfig

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        """Read and check config.json; ModelFormatError or UnsupportedModel naming the key."""
        text = qwen_vision.qwen2_text(fields)
        tower = qwen_vision.tower(fields, width_key="embed_dim")
        ratio = tower.number("mlp_ratio", 1e-3, 1e3, 4)
        width = tower.integer("hidden_size", 1, 1 << 17)
        tower = tower.updated({"intermediate_size": int(ratio * width)})
        if not tower.has("hidden_act"):
            tower = tower.updated({"hidden_act": "quick_gelu"})
        vision = VisionConfig(
            **transformer(tower),
            **qwen_vision.sizes(fields, 151_655),
            positions=None,
            feature_width=text["hidden_size"],
        )
        return cls(**(text | {"model_type": "qwen2_vl"}), vision=vision)


def build(c: Config) -> nn.Module:
    """The model for a config, not yet traced."""
    v = c.vision
    norm = partial(nn.LayerNorm, v.hidden_size, v.norm_eps)
    tower = qwen_vision.Tower(v, norm, partial(vit.MLP, v))
    return VisionLM(qwen2.Model(c), tower, qwen_vision.Projector(v), c)
