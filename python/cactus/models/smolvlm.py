"""SmolVLM and SmolVLM2 (Hugging Face 2024): SigLIP on square tiles, one product, and Llama."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cactus.inputs.fields import Fields

from .. import nn
from . import llama, vit
from .vision import VisionConfig, VisionLM, part, text_part, transformer

ABILITIES = ("chat", "complete", "see", "embed_image")

_TOWER = {
    "hidden_size": 1152,
    "image_size": 224,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_hidden_layers": 12,
    "patch_size": 32,
}
"""What a ``vision_config`` means where it says nothing."""


@dataclass(frozen=True)
class Config(llama.Config):
    """The text's config, and ``vision``."""

    vision: VisionConfig

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        """Read and check config.json; ModelFormatError or UnsupportedModel naming the key."""
        given = {"rms_norm_eps": 1e-5, "hidden_act": "silu"}
        text = llama.Config.parse(text_part(fields, given, tied=False))
        tower = part(fields, "vision_config")
        tower = tower.updated({key: tower.raw.get(key, size) for key, size in _TOWER.items()})
        sizes = transformer(tower)
        side = tower.integer("image_size", sizes["patch_size"], 1 << 14) // sizes["patch_size"]
        vision = VisionConfig(
            **sizes,
            positions=(side, side),
            interpolation="nearest",
            factor=fields.integer("scale_factor", 1, 16, 2),
            image_token_id=fields.integer("image_token_id", 0, text.vocab_size - 1, 128_257),
            feature_width=text.hidden_size,
        )
        return cls(**(vars(text) | {"model_type": fields.raw["model_type"]}), vision=vision)


class Projector(nn.Module):
    """One product of a square's states, one behind the other."""

    names: ClassVar = {"proj": "modality_projection.proj"}

    def __init__(self, c: Config) -> None:
        self.width = c.vision.projector_width
        self.proj = nn.Linear(self.width, c.hidden_size)

    def forward(self) -> nn.Tensor:
        return self.proj(nn.output_rows(nn.features(self.width)))


def build(c: Config) -> nn.Module:
    """The model for a config, not yet traced."""
    return VisionLM(llama.Model(c), vit.Tower(c.vision), Projector(c), c)
