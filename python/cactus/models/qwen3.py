"""Qwen3 (Qwen team 2025): Llama's shape with a norm on each query and key head."""

from __future__ import annotations

from dataclasses import dataclass

from .. import nn
from ..errors import UnsupportedModel
from . import base
from .fields import Fields


@dataclass(frozen=True)
class Config(base.Config):
    """Qwen3 has nothing of its own; its heads are of 128 whatever the hidden size."""

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        fields.choice("hidden_act", ("silu",), "silu")
        fields.refuse("attention_bias", "attention layers with a bias are not supported")
        fields.refuse("use_sliding_window", "attention to a window is not supported")
        if not fields.has("head_dim"):
            fields = fields.updated({"head_dim": 128})
        common = base.common(fields, theta=10_000.0, eps_key="rms_norm_eps", tied=False)
        _check_layer_types(fields, common["layers"])
        return cls(**common)


def _check_layer_types(fields: Fields, layers: int) -> None:
    kinds = fields.raw.get("layer_types")
    if kinds is None:
        return
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise fields.error("layer_types", f"a list of num_hidden_layers = {layers} words", kinds)
    for index, kind in enumerate(kinds):
        if kind != "full_attention":
            raise UnsupportedModel(
                f"{fields.where}: layer_types[{index}] {str(kind)[:80]!r} is not supported; "
                "known: full_attention"
            )


class Layer(nn.Module):
    """Attention with head norms, then feed-forward, each on a normed copy of the residual."""

    def __init__(self, c: Config) -> None:
        heads = (c.heads, c.kv_heads, c.head_dim)
        self.self_attn = nn.Attention(c.hidden_size, *heads, c.rope, c.norm_eps)
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
