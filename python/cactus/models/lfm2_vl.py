"""LFM2-VL (Liquid AI 2025): SigLIP2 at any resolution, squares of states, and LFM2."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any

from cactus.inputs.fields import Fields

from .. import nn
from . import base, lfm2, vit
from .vision import VisionConfig, VisionLM, part, text_part, transformer

ABILITIES = ("chat", "complete", "see", "embed_image")


@dataclass(frozen=True)
class Config(lfm2.Config):
    """The text's config, and ``vision``. The projector's norm is there with ``projector_norm``."""

    vision: VisionConfig
    projector_size: int
    projector_bias: bool
    projector_norm: bool

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        """Read and check config.json; ModelFormatError or UnsupportedModel naming the key."""
        fields.choice("projector_hidden_act", ("gelu",), "gelu")
        fields = _renamed(fields)
        if fields.integer("vision_feature_layer", -1 << 10, 1 << 10, -1) != -1:
            raise fields.error("vision_feature_layer", "-1", fields.raw["vision_feature_layer"])
        given = text_part(fields, {"norm_eps": 1e-5}, tied=True)
        text = lfm2.Config.parse(given.updated({"tie_embedding": None}))
        vision = VisionConfig(
            **_tower(part(fields, "vision_config")),
            factor=fields.integer("downsample_factor", 1, 16, 2),
            image_token_id=fields.integer("image_token_id", 0, text.vocab_size - 1, 396),
            feature_width=text.hidden_size,
        )
        return cls(
            **(vars(text) | {"model_type": "lfm2_vl"}),
            vision=vision,
            projector_size=fields.integer(
                *("projector_hidden_size", base.LANE, base.MAX_WIDTH, 2560), multiple=base.LANE
            ),
            projector_bias=fields.flag("projector_bias", True),
            projector_norm=fields.flag("projector_use_layernorm", True),
        )


def _renamed(fields: Fields) -> Fields:
    # The first checkpoints used these words.
    old = {"image_token_index": "image_token_id", "tie_embedding": "tie_word_embeddings"}
    return fields.updated({new: fields.raw[key] for key, new in old.items() if fields.has(key)})


def _tower(fields: Fields) -> dict[str, Any]:
    """SigLIP2's own settings: a square table of positions, for any grid of patches."""
    fields.choice("model_type", ("siglip2_vision_model",), "siglip2_vision_model")
    count = fields.integer("num_patches", 1, 1 << 16, 256)
    side = isqrt(count)
    if side * side != count:
        raise fields.error("num_patches", "a square number", count)
    return transformer(fields) | {"positions": (side, side)}


class Projector(nn.Module):
    """Two products with a GELU between them, of a square's states one behind the other."""

    def __init__(self, c: Config) -> None:
        self.width = c.vision.projector_width
        self.layer_norm = nn.LayerNorm(self.width) if c.projector_norm else None
        self.linear_1 = nn.Linear(self.width, c.projector_size, c.projector_bias)
        self.linear_2 = nn.Linear(c.projector_size, c.hidden_size, c.projector_bias)

    def forward(self) -> nn.Tensor:
        x = nn.output_rows(nn.features(self.width))
        x = self.layer_norm(x) if self.layer_norm else x
        return self.linear_2(nn.gelu_erf(self.linear_1(x)))


def build(c: Config) -> nn.Module:
    """The model for a config, not yet traced."""
    return VisionLM(lfm2.Model(c), vit.Tower(c.vision), Projector(c), c)
