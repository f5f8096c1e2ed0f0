"""Llama (Touvron et al. 2023) and what shares its shape: SmolLM2, Llama 3, TinyLlama."""

from __future__ import annotations

from dataclasses import dataclass

from .. import nn
from . import base
from .fields import Fields


@dataclass(frozen=True)
class Config(base.Config):
    """Llama has nothing of its own beyond what all share."""

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        fields.choice("hidden_act", ("silu",), "silu")
        fields.refuse("attention_bias", "attention layers with a bias are not supported")
        fields.refuse("mlp_bias", "feed-forward layers with a bias are not supported")
        return cls(**base.common(fields, theta=10_000.0, eps_key="rms_norm_eps", tied=False))


class Layer(nn.Module):
    """Attention, then feed-forward, each on a normed copy of the residual stream."""

    def __init__(self, c: Config) -> None:
        self.self_attn = nn.Attention(c.hidden_size, c.heads, c.kv_heads, c.head_dim, c.rope)
        self.mlp = nn.GatedMLP(c.hidden_size, c.intermediate_size)
        self.input_layernorm = nn.RMSNorm(c.hidden_size, c.norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(c.hidden_size, c.norm_eps)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = x + self.self_attn(self.input_layernorm(x))
        return x + self.mlp(self.post_attention_layernorm(x))


class Model(base.Decoder):
    """Embedding, layers, final norm."""

    def __init__(self, c: Config) -> None:
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = [Layer(c) for _ in range(c.layers)]
        self.norm = nn.RMSNorm(c.hidden_size, c.norm_eps)

    def forward(self) -> nn.Tensor:
        x = self.embed_tokens()
        for layer in self.layers:
            x = layer(x)
        return self.norm(nn.output_rows(x))
