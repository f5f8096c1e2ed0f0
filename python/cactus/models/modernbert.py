"""ModernBERT (Warner et al. 2024): norms before each half, gated layers, mostly local attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from cactus.inputs.fields import Fields

from .. import nn
from . import base
from .encoder import EncoderConfig, common

ABILITIES = ("embed", "rerank")


@dataclass(frozen=True)
class Config(EncoderConfig):
    """``reaches`` has how far each layer sees to each side, 0 for all.

    Layers that see all rotate by ``rope``, others by ``local_rope``.
    """

    reaches: tuple[int, ...]
    rope: nn.RoPE
    local_rope: nn.RoPE
    norm_bias: bool
    bias: bool

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        """Read and check config.json; ModelFormatError or UnsupportedModel naming the key."""
        fields.choice("hidden_activation", ("gelu",), "gelu")
        fields.refuse("mlp_bias", "feed-forward layers with a bias are not supported")
        if not fields.has("norm_eps"):
            fields = fields.updated({"norm_eps": 1e-5})
        shared = common(fields, eps_key="norm_eps")
        head_dim = shared["hidden_size"] // shared["heads"]
        everywhere, local = _rotary(fields)
        return cls(
            **shared,
            reaches=_reaches(fields, shared["layers"]),
            rope=base.rope(everywhere, head_dim, 160_000.0),
            local_rope=base.rope(local, head_dim, 10_000.0),
            norm_bias=fields.flag("norm_bias", False),
            bias=fields.flag("attention_bias", False),
        )


def _rotary(fields: Fields) -> tuple[Fields, Fields]:
    """The config as layers that see all should read it, and as the others should."""
    by_kind = fields.object("rope_parameters")
    if by_kind is None:
        whole, near = (
            fields.number(f"{kind}_rope_theta", 1.0, 1e12, theta)
            for kind, theta in (("global", 160_000.0), ("local", 10_000.0))
        )
        return fields.updated({"rope_theta": whole}), fields.updated({"rope_theta": near})
    found: list[Any] = [by_kind.raw.get(f"{kind}_attention") for kind in ("full", "sliding")]
    if not all(isinstance(each, dict) for each in found):
        want = "an object for each of full_attention and sliding_attention"
        raise fields.error("rope_parameters", want, by_kind.raw)
    whole_fields, near_fields = (fields.updated({"rope_parameters": each}) for each in found)
    return whole_fields, near_fields


def _reaches(fields: Fields, layers: int) -> tuple[int, ...]:
    kinds = fields.words("layer_types", layers, ("full_attention", "sliding_attention"))
    if kinds is None:
        period = fields.integer("global_attn_every_n_layers", 1, base.MAX_LAYERS, 3)
        kinds = [
            "sliding_attention" if layer % period else "full_attention" for layer in range(layers)
        ]
    window = fields.integer("local_attention", 2, base.MAX_CONTEXT, 128)
    return tuple(window // 2 if kind == "sliding_attention" else 0 for kind in kinds)


class Attention(nn.MergedAttention):
    """Attention by the names of the checkpoint."""

    names: ClassVar = {"qkv_proj": "Wqkv", "o_proj": "Wo"}


class FeedForward(nn.MergedMLP):
    """The gated feed-forward by the names of the checkpoint."""

    names: ClassVar = {"gate_up_proj": "Wi", "down_proj": "Wo"}


class Layer(nn.Module):
    """Attention, then feed-forward, each on a normed copy; the first layer's input is normed."""

    def __init__(self, c: Config, reach: int, *, first: bool) -> None:
        rope = c.local_rope if reach else c.rope
        self.attn_norm = None if first else _norm(c)
        heads = (c.heads, c.heads, c.head_dim)
        self.attn = Attention(
            *(c.hidden_size, *heads, rope), reach=reach, qkv_bias=c.bias, out_bias=c.bias
        )
        self.mlp_norm = _norm(c)
        self.mlp = FeedForward(c.hidden_size, c.intermediate_size, nn.gelu_erf)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = x + self.attn(self.attn_norm(x) if self.attn_norm else x)
        return x + self.mlp(self.mlp_norm(x))


def _norm(c: Config) -> nn.LayerNorm:
    return nn.LayerNorm(c.hidden_size, c.norm_eps, bias=c.norm_bias)


class Embeddings(nn.Module):
    """Words, normed."""

    def __init__(self, c: Config) -> None:
        self.tok_embeddings = nn.Embedding(c.vocab_size, c.hidden_size)
        self.norm = _norm(c)

    def forward(self) -> nn.Tensor:
        return self.norm(self.tok_embeddings())


class ModernBert(nn.Module):
    """Tokens to the states of the output rows."""

    def __init__(self, c: Config) -> None:
        self.embeddings = Embeddings(c)
        self.layers = [Layer(c, reach, first=index == 0) for index, reach in enumerate(c.reaches)]
        self.final_norm = _norm(c)

    def forward(self) -> nn.Tensor:
        x = self.embeddings()
        for layer in self.layers:
            x = layer(x)
        return self.final_norm(nn.output_rows(x))


def build(c: Config) -> nn.Module:
    """The model for a config, not yet traced."""
    return ModernBert(c)
