"""Qwen2 and 2.5 (Qwen team 2024): Llama's shape with a bias on queries, keys and values."""

from __future__ import annotations

from dataclasses import dataclass

from cactus.inputs.fields import Fields

from .. import nn
from . import base

ABILITIES = ("chat", "complete")


@dataclass(frozen=True)
class Config(base.Config):
    """``windows`` has the number of positions that each layer sees, 0 for all."""

    windows: tuple[int, ...]

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        fields.choice("hidden_act", ("silu",), "silu")
        common = base.common(fields, theta=10_000.0, eps_key="rms_norm_eps", tied=False)
        return cls(**common, windows=windows(fields, common["layers"]))


def windows(fields: Fields, layers: int) -> tuple[int, ...]:
    """With ``use_sliding_window`` the layers from ``max_window_layers`` on see a window."""
    first = fields.integer("max_window_layers", 0, base.MAX_LAYERS, 28)
    if not fields.flag("use_sliding_window", False):
        # The window that nearly every config names anyway means nothing then.
        fields = fields.updated({"sliding_window": None})
    slides = fields.has("sliding_window")
    return base.windows(fields, [slides and layer >= first for layer in range(layers)])


class Model(base.Decoder):
    """Attention with biases."""

    def __init__(self, c: Config) -> None:
        shape = (c.hidden_size, c.heads, c.kv_heads, c.head_dim, c.rope)
        attention = (nn.Attention(*shape, qkv_bias=True, window=window) for window in c.windows)
        super().__init__(c, (base.Layer(c, each) for each in attention))
