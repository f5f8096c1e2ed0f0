"""Qwen2.5-VL (Qwen team 2025): most of the tower's layers see windows of an image, and Qwen2."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from cactus.inputs.fields import Fields

from .. import nn
from . import qwen2, qwen_vision
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
        tower = qwen_vision.tower(fields)
        tower.choice("hidden_act", ("silu",), "silu")
        sizes = transformer(tower.updated({"hidden_act": None})) | {"activation": "silu"}
        shared = qwen_vision.sizes(fields, 151_655)
        square = sizes["patch_size"] * shared["factor"]
        window = tower.integer("window_size", square, 1 << 14, 112) // square
        vision = VisionConfig(
            **sizes,
            **shared,
            positions=None,
            feature_width=text["hidden_size"],
            window=window * shared["factor"],
            whole_layers=_whole_layers(tower, sizes["layers"]),
        )
        return cls(**(text | {"model_type": "qwen2_5_vl"}), vision=vision)


def _whole_layers(tower: Fields, layers: int) -> tuple[int, ...]:
    found = tower.raw.get("fullatt_block_indexes")
    found = [7, 15, 23, 31] if found is None else found
    if not isinstance(found, list) or not all(type(n) is int and 0 <= n < layers for n in found):
        raise tower.error("fullatt_block_indexes", f"layers from 0 to {layers - 1}", found)
    return tuple(found)


def build(c: Config) -> nn.Module:
    """The model for a config, not yet traced."""
    v = c.vision
    norm = partial(nn.RMSNorm, v.hidden_size, v.norm_eps)
    mlp = partial(nn.GatedMLP, v.hidden_size, v.intermediate_size, bias=True)
    tower = qwen_vision.Tower(v, norm, mlp)
    return VisionLM(qwen2.Model(c), tower, qwen_vision.Projector(v), c)
