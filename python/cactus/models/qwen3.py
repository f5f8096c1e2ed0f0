"""Qwen3 (Qwen team 2025): Llama's shape with a norm on each query and key head."""

from __future__ import annotations

from dataclasses import dataclass

from cactus.inputs.fields import Fields

from .. import nn
from . import base
from .qwen2 import windows

ABILITIES = ("chat", "complete")


@dataclass(frozen=True)
class Config(base.Config):
    """Heads are of 128 whatever the hidden size; ``windows`` as in Qwen2."""

    windows: tuple[int, ...]

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        fields.choice("hidden_act", ("silu",), "silu")
        fields.refuse("attention_bias", "attention layers with a bias are not supported")
        if not fields.has("head_dim"):
            fields = fields.updated({"head_dim": 128})
        common = base.common(fields, theta=10_000.0, eps_key="rms_norm_eps", tied=False)
        return cls(**common, windows=windows(fields, common["layers"]))


class Model(base.Decoder):
    """Attention with head norms."""

    def __init__(self, c: Config) -> None:
        shape = (c.hidden_size, c.heads, c.kv_heads, c.head_dim, c.rope, c.norm_eps)
        attention = (nn.Attention(*shape, window=window) for window in c.windows)
        super().__init__(c, (base.Layer(c, each) for each in attention))
