"""Phi-3 and Phi-4-mini (Microsoft 2024): Llama's shape, projections merged to one matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from cactus.inputs.fields import Fields

from .. import nn
from . import base

ABILITIES = ("chat", "complete")


@dataclass(frozen=True)
class Config(base.Config):
    """``window`` is the number of positions that a row sees, 0 for all."""

    window: int

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        fields.choice("hidden_act", ("silu",), "silu")
        fields.refuse("attention_bias", "attention layers with a bias are not supported")
        plain = fields.updated({"rope_parameters": None, "rope_scaling": None})
        common = base.common(plain, theta=10_000.0, eps_key="rms_norm_eps", tied=False)
        window = fields.integer("sliding_window", 0, base.MAX_CONTEXT, 0)
        return _rotary(fields, cls(**common, window=window))


def _rotary(fields: Fields, c: Config) -> Config:
    """The config with its rotary positions: of a part of each head, some with LongRoPE.

    LongRoPE has other factors for texts longer than ``original_max_position_embeddings``, with
    which all keys so far would have to be rotated anew; the context ends where they begin.
    """
    inner = fields.object("rope_parameters") or fields.object("rope_scaling") or Fields({})
    theta = fields.number("rope_theta", 1.0, 1e12, 10_000.0)
    theta = inner.number("rope_theta", 1.0, 1e12, theta)
    part = fields.number("partial_rotary_factor", 0.01, 1.0, 1.0)
    part = inner.number("partial_rotary_factor", 0.01, 1.0, part)
    width = int(c.head_dim * part) // 2 * 2
    kind = "rope_type" if inner.has("rope_type") else "type"
    if inner.choice(kind, ("default", "longrope", "su"), "default") == "default":
        return replace(c, rope=nn.RoPE.of(width, theta))
    original = fields.integer("original_max_position_embeddings", 2, base.MAX_CONTEXT, 4096)
    original = inner.integer("original_max_position_embeddings", 2, base.MAX_CONTEXT, original)
    factors = inner.numbers("short_factor", width // 2, 1e-3, 1e6)
    growth = inner.number("factor", 1e-3, 1e6, c.context_length / original)
    scale = math.sqrt(1 + math.log(growth) / math.log(original)) if growth > 1 else 1.0
    scale = inner.number("attention_factor", 1e-3, 1e3, scale)
    frequencies = [theta ** (-2 * i / width) / factor for i, factor in enumerate(factors)]
    rope = nn.RoPE.rounded(frequencies, scale)
    return replace(c, rope=rope, context_length=min(c.context_length, original))


class Model(base.Decoder):
    """The same layer throughout."""

    def __init__(self, c: Config) -> None:
        shape = (c.hidden_size, c.heads, c.kv_heads, c.head_dim, c.rope, c.window)
        attention = (nn.MergedAttention(*shape) for _ in range(c.layers))
        sizes = (c.hidden_size, c.intermediate_size)
        super().__init__(c, (base.Layer(c, each, nn.MergedMLP(*sizes)) for each in attention))
