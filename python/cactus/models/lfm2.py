"""LFM2 (Liquid AI 2025): gated short convolutions interleaved with grouped-query attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cactus.inputs.fields import Fields

from .. import nn
from . import base

ABILITIES = ("chat", "complete")

_KINDS = ("conv", "full_attention")


@dataclass(frozen=True)
class Config(base.Config):
    """``layer_types`` has a word for each layer; ``taps`` is the length of the kernel."""

    layer_types: tuple[str, ...]
    taps: int

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        fields.refuse("conv_bias", "convolution layers with a bias are not supported")
        fields = _feed_forward_adjusted(_renamed(fields))
        common = base.common(fields, theta=1_000_000.0, eps_key="norm_eps", tied=True)
        taps = fields.integer("conv_L_cache", 2, 64, 3)
        return cls(**common, layer_types=_layer_types(fields, common["layers"]), taps=taps)


def _renamed(fields: Fields) -> Fields:
    # The first checkpoints used these words, and where both are there they count.
    old = {"block_ff_dim": "intermediate_size", "tie_embedding": "tie_word_embeddings"}
    return fields.updated({new: fields.raw[key] for key, new in old.items() if fields.has(key)})


def _feed_forward_adjusted(fields: Fields) -> Fields:
    """``intermediate_size`` as the layers have it: two thirds, times a factor, rounded up."""
    if not fields.flag("block_auto_adjust_ff_dim", True):
        return fields
    size = 2 * fields.integer("intermediate_size", 1, base.MAX_WIDTH) // 3
    if fields.raw.get("block_ffn_dim_multiplier", 1.0) is not None:
        multiple = fields.integer("block_multiple_of", 1, base.MAX_WIDTH, 256)
        size = int(fields.number("block_ffn_dim_multiplier", 1e-3, 1e3, 1.0) * size)
        size = -(-size // multiple) * multiple
    return fields.updated({"intermediate_size": size})


def _layer_types(fields: Fields, layers: int) -> tuple[str, ...]:
    kinds = fields.words("layer_types", layers, _KINDS)
    if kinds is not None:
        return tuple(kinds)
    attention = fields.raw.get("full_attn_idxs")
    if attention is None:
        attention = list(range(layers))
    if not isinstance(attention, list) or any(i not in range(layers) for i in attention):
        raise fields.error("full_attn_idxs", f"a list of layers below {layers}", attention)
    return tuple(_KINDS[i in attention] for i in range(layers))


class ShortConv(nn.Module):
    """out = W_out · (c * conv(b * x)) with b, c, x = W_in · input."""

    def __init__(self, c: Config) -> None:
        self.in_proj = nn.Linear(c.hidden_size, 3 * c.hidden_size)
        self.conv = nn.CausalConv1d(c.hidden_size, c.taps)
        self.out_proj = nn.Linear(c.hidden_size, c.hidden_size)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        b, c, x = nn.split(self.in_proj(x), 3)
        return self.out_proj(c * self.conv(b * x))


class Attention(nn.Attention):
    """Grouped-query attention with head norms."""

    names: ClassVar = {"q_norm": "q_layernorm", "k_norm": "k_layernorm", "o_proj": "out_proj"}


class FeedForward(nn.GatedMLP):
    """The gated MLP with the names of its paper."""

    names: ClassVar = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}


class Layer(nn.Module):
    """An operator, then feed-forward, each on a normed copy of the residual stream."""

    def __init__(self, c: Config, operator: nn.Module) -> None:
        self.operator = operator
        self.feed_forward = FeedForward(c.hidden_size, c.intermediate_size)
        self.operator_norm = nn.RMSNorm(c.hidden_size, c.norm_eps)
        self.ffn_norm = nn.RMSNorm(c.hidden_size, c.norm_eps)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = x + self.operator(self.operator_norm(x))
        return x + self.feed_forward(self.ffn_norm(x))


class ConvLayer(Layer):
    """A layer whose operator is a short convolution."""

    names: ClassVar = {"operator": "conv"}

    def __init__(self, c: Config) -> None:
        super().__init__(c, ShortConv(c))


class AttentionLayer(Layer):
    """A layer whose operator is attention."""

    names: ClassVar = {"operator": "self_attn"}

    def __init__(self, c: Config) -> None:
        heads = (c.heads, c.kv_heads, c.head_dim)
        super().__init__(c, Attention(c.hidden_size, *heads, c.rope, c.norm_eps))


class Model(base.Decoder):
    """Layers of both kinds; LFM2 calls the final norm ``embedding_norm``."""

    names: ClassVar = {"norm": "embedding_norm"}

    def __init__(self, c: Config) -> None:
        kinds = {"conv": ConvLayer, "full_attention": AttentionLayer}
        super().__init__(c, (kinds[kind](c) for kind in c.layer_types))
