"""Gemma 3 (Google 2025): SigLIP on a square image, means of states, and Gemma 3's decoder."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import ClassVar

from cactus.inputs.fields import Fields

from .. import nn
from . import gemma3_text, vit
from .vision import VisionConfig, VisionLM, part, text_part, transformer

ABILITIES = ("chat", "complete", "see", "embed_image")

MOST_FEATURES = 256
"""Of an image, which see each other: one step takes them all, and has no more rows."""

_TEXT = {
    "head_dim": 256,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "max_position_embeddings": 131_072,
    "num_attention_heads": 8,
    "num_hidden_layers": 26,
    "num_key_value_heads": 4,
    "rms_norm_eps": 1e-6,
    "vocab_size": 262_208,
}
"""What a ``text_config`` means where it says nothing."""


@dataclass(frozen=True)
class Config(gemma3_text.Config):
    """The text's config, and ``vision``."""

    vision: VisionConfig

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        """Read and check config.json; ModelFormatError or UnsupportedModel naming the key."""
        text = gemma3_text.Config.parse(text_part(fields, _TEXT, tied=True))
        tower = part(fields, "vision_config")
        tower.choice("model_type", ("siglip_vision_model",), "siglip_vision_model")
        sizes = transformer(tower)
        side = tower.integer("image_size", sizes["patch_size"], 1 << 14) // sizes["patch_size"]
        tokens = fields.integer("mm_tokens_per_image", 1, MOST_FEATURES, 256)
        if isqrt(tokens) ** 2 != tokens or side % isqrt(tokens):
            want = f"a square number whose root divides {side} patches"
            raise fields.error("mm_tokens_per_image", want, tokens)
        named = "image_token_id" if fields.has("image_token_id") else "image_token_index"
        vision = VisionConfig(
            **sizes,
            positions=(side, side),
            factor=side // isqrt(tokens),
            merging="mean",
            image_token_id=fields.integer(named, 0, text.vocab_size - 1, 262_144),
            feature_width=text.hidden_size,
            blocks=True,
        )
        return cls(**(vars(text) | {"model_type": "gemma3"}), vision=vision)


class Projector(nn.Module):
    """One product of normed means of states."""

    names: ClassVar = {"proj": "mm_input_projection", "norm": "mm_soft_emb_norm"}

    def __init__(self, c: Config) -> None:
        self.width = c.vision.projector_width
        self.norm = nn.RMSNorm(self.width, c.vision.norm_eps, gemma3_text.NORM_OFFSET)
        self.proj = nn.Linear(self.width, c.hidden_size)

    def forward(self) -> nn.Tensor:
        return self.proj(self.norm(nn.output_rows(nn.features(self.width))))


def build(c: Config) -> nn.Module:
    """The model for a config, not yet traced."""
    return VisionLM(gemma3_text.Model(c, blocks=True), vit.Tower(c.vision), Projector(c), c)
