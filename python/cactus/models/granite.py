"""Granite 3 (IBM 2024): Llama with factors on embeddings, scores, residuals and logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cactus.inputs.fields import Fields

from .. import nn
from . import base

ABILITIES = ("chat", "complete")

_FACTORS = ("embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling")


@dataclass(frozen=True)
class Config(base.Config):
    """The factors under the checkpoint's names; logits are divided by ``logits_scaling``."""

    embedding_multiplier: float
    attention_multiplier: float
    residual_multiplier: float
    logits_scaling: float

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        fields.choice("hidden_act", ("silu",), "silu")
        fields.refuse("attention_bias", "attention layers with a bias are not supported")
        fields.refuse("mlp_bias", "feed-forward layers with a bias are not supported")
        common = base.common(fields, theta=10_000.0, eps_key="rms_norm_eps", tied=False)
        factors: dict[str, Any] = {name: fields.number(name, 1e-6, 1e6, 1.0) for name in _FACTORS}
        return cls(**common, **factors)


class Layer(base.Layer):
    """What attention and feed-forward add is multiplied first."""

    def __init__(self, c: Config) -> None:
        shape = (c.hidden_size, c.heads, c.kv_heads, c.head_dim, c.rope)
        super().__init__(c, nn.Attention(*shape, scale=c.attention_multiplier))
        self.factor = c.residual_multiplier

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = x + self.self_attn(self.input_layernorm(x)) * self.factor
        return x + self.mlp(self.post_attention_layernorm(x)) * self.factor


class Model(base.Decoder):
    """The factor of the logits is applied before the head, where the rows are narrower."""

    def __init__(self, c: Config) -> None:
        layers = (Layer(c) for _ in range(c.layers))
        super().__init__(c, layers, embedding_scale=c.embedding_multiplier)
        self.output_scale = 1 / c.logits_scaling
