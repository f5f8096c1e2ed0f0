"""Qwen3-VL (Qwen team 2025): states of several layers enter the decoder, and Qwen3."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import isqrt

from cactus.inputs.fields import Fields

from .. import nn
from . import base, qwen3, qwen_vision, vit
from .vision import VisionConfig, VisionLM, transformer

ABILITIES = ("chat", "complete", "see", "embed_image")


@dataclass(frozen=True)
class Config(qwen3.Config):
    """The text's config, and ``vision``."""

    vision: VisionConfig

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        """Read and check config.json; ModelFormatError or UnsupportedModel naming the key."""
        given, sections = qwen_vision.text_part(fields, [24, 20, 20])
        text = qwen3.Config.parse(given)
        tower = qwen_vision.tower(fields)
        count = tower.integer("num_position_embeddings", 1, 1 << 20, 2304)
        if isqrt(count) ** 2 != count:
            raise tower.error("num_position_embeddings", "a square number", count)
        sizes = transformer(tower)
        vision = VisionConfig(
            **sizes,
            **qwen_vision.sizes(fields, 151_655),
            positions=(isqrt(count), isqrt(count)),
            interpolation="corners",
            feature_width=text.hidden_size,
            deepstack=_deepstack(tower, min(sizes["layers"], text.layers)),
        )
        own = {"model_type": "qwen3_vl", "rope": qwen_vision.interleaved(text.rope, sections)}
        return cls(**(vars(text) | own), vision=vision)


def _deepstack(fields: Fields, layers: int) -> tuple[int, ...]:
    found = fields.raw.get("deepstack_visual_indexes")
    found = [8, 16, 24] if found is None else found
    right = isinstance(found, list) and all(type(n) is int and n >= 0 for n in found)
    if not right or sorted(set(found)) != found or len(found) > layers:
        raise fields.error("deepstack_visual_indexes", "layers in their order", found)
    if found and found[-1] >= fields.integer("num_hidden_layers", 1, base.MAX_LAYERS):
        raise fields.error("deepstack_visual_indexes", "layers of the tower", found)
    return tuple(found)


class Seeing(VisionLM):
    """With a projector for each layer of the deepstack."""

    def __init__(self, c: Config) -> None:
        v = c.vision
        norm = partial(nn.LayerNorm, v.hidden_size, v.norm_eps)
        tower = qwen_vision.Tower(v, norm, partial(vit.MLP, v), bias=True)
        decoder = qwen3.Model(c)
        decoder.deepstack = len(v.deepstack)
        super().__init__(decoder, tower, qwen_vision.Projector(v), c)
        self.deepstack = [qwen_vision.Projector(v, normed=True) for _ in v.deepstack]


def build(c: Config) -> nn.Module:
    """The model for a config, not yet traced."""
    return Seeing(c)
