"""Llama (Touvron et al. 2023) and what shares its shape: SmolLM2, Llama 3, TinyLlama."""

from __future__ import annotations

from dataclasses import dataclass

from cactus.inputs.fields import Fields

from .. import nn
from . import base

ABILITIES = ("chat", "complete")


@dataclass(frozen=True)
class Config(base.Config):
    """Llama has nothing of its own beyond what all share."""

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        fields.choice("hidden_act", ("silu",), "silu")
        fields.refuse("attention_bias", "attention layers with a bias are not supported")
        fields.refuse("mlp_bias", "feed-forward layers with a bias are not supported")
        return cls(**base.common(fields, theta=10_000.0, eps_key="rms_norm_eps", tied=False))


class Model(base.Decoder):
    """The same attention in every layer."""

    def __init__(self, c: Config) -> None:
        heads = (c.heads, c.kv_heads, c.head_dim)
        attention = (nn.Attention(c.hidden_size, *heads, c.rope) for _ in range(c.layers))
        super().__init__(c, (base.Layer(c, each) for each in attention))
