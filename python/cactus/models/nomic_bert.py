"""Nomic BERT (Nussbaum et al. 2024): BERT with rotary positions and a gated feed-forward.

Its second version (Nussbaum and Duderstadt 2025) has biases, plain feed-forward layers, and a
mixture of experts in every second one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cactus.inputs.fields import Fields

from .. import nn
from . import base
from .encoder import EncoderConfig, common

ABILITIES = ("embed",)


@dataclass(frozen=True)
class Config(EncoderConfig):
    """``types`` of the parts of a pair, of which texts have the first alone.

    Of ``experts`` each row asks ``top_k``, in the last of each ``period`` layers; 0: in none.
    """

    types: int
    rope: nn.RoPE
    gated: bool
    experts: int
    top_k: int
    period: int

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        """Read and check config.json; ModelFormatError or UnsupportedModel naming the key."""
        fields = _renamed(fields)
        gated = fields.choice("hidden_act", ("silu", "gelu"), "silu") == "silu"
        experts = fields.integer("num_experts", 0, 1 << 10, 0)
        period = fields.integer("moe_every_n_layers", 0, base.MAX_LAYERS, 0)
        if period == 0 or experts == 0:
            period = experts = 0
        if period not in (0, 2):
            raise fields.error("moe_every_n_layers", "2, or 0 without experts", period)
        fields.refuse("moe_normalize_expert_weights", "experts' weights are not normalised")
        fields.refuse("expert_choice_router", "experts are chosen by each token")
        shared = common(fields, eps_key="layer_norm_eps")
        head_dim = shared["hidden_size"] // shared["heads"]
        return cls(
            **shared,
            types=fields.integer("type_vocab_size", 1, 1 << 10, 2),
            rope=base.rope(fields, head_dim, 1_000.0),
            gated=gated,
            experts=experts,
            top_k=fields.integer("moe_top_k", 1, experts, min(2, experts)) if experts else 0,
            period=period,
        )


_NEW = {
    "n_embd": "hidden_size",
    "n_inner": "intermediate_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_positions": "max_position_embeddings",
    "layer_norm_epsilon": "layer_norm_eps",
    "rotary_emb_base": "rope_theta",
}
_FLAGS = {
    "prenorm": "norms before the layers",
    "parallel_block": "layers side by side",
    "use_rms_norm": "root-mean-square norms",
    "causal": "reading from left to right",
    "rotary_emb_interleaved": "interleaved rotary positions",
}


def _renamed(fields: Fields) -> Fields:
    """The published checkpoints' words as later ones have them; what is not supported refused."""
    if not fields.has("n_embd"):
        return fields
    for name, what in _FLAGS.items():
        fields.refuse(name, f"{what} are not supported")
    if fields.number("rotary_emb_fraction", 0, 1, 1.0) != 1:
        raise fields.error("rotary_emb_fraction", "1", fields.raw["rotary_emb_fraction"])
    gated = fields.choice("activation_function", ("swiglu", "gelu")) == "swiglu"
    for name in ("qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias"):
        if fields.flag(name, not gated) == gated:
            raise fields.error(name, "true with gelu, false with swiglu", gated)
    kept = {key: value for key, value in fields.raw.items() if key not in _NEW}
    renamed = {new: fields.raw[old] for old, new in _NEW.items() if fields.has(old)}
    renamed["hidden_act"] = "silu" if gated else "gelu"
    return Fields(kept, fields.where).updated(renamed)


class Embeddings(nn.Module):
    """Words and the one part of a text, added and normed."""

    names: ClassVar = {"norm": "LayerNorm"}

    def __init__(self, c: Config) -> None:
        self.word_embeddings = nn.Embedding(c.vocab_size, c.hidden_size)
        self.token_type_embeddings = nn.SegmentEmbedding(c.types, c.hidden_size)
        self.norm = nn.LayerNorm(c.hidden_size, c.norm_eps)

    def forward(self) -> nn.Tensor:
        return self.norm(self.token_type_embeddings(self.word_embeddings()))


class Experts(nn.Experts):
    """A mixture of experts by the names of the checkpoint."""

    names: ClassVar = {
        "router": "router.layer",
        "w1": "experts.mlp.w1",
        "w2": "experts.mlp.w2",
        "bias": "experts.bias",
    }


class Layer(nn.Module):
    """Attention, then feed-forward, each added to its input and normed together."""

    def __init__(self, c: Config, index: int) -> None:
        heads, biases = (c.heads, c.heads, c.head_dim), not c.gated
        self.self_attn = nn.Attention(
            *(c.hidden_size, *heads, c.rope), qkv_bias=biases, out_bias=biases, reach=0
        )
        self.post_attention_layernorm = nn.LayerNorm(c.hidden_size, c.norm_eps)
        self.mlp = _feed_forward(c, index)
        self.post_mlp_layernorm = nn.LayerNorm(c.hidden_size, c.norm_eps)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = self.post_attention_layernorm(x + self.self_attn(x))
        return self.post_mlp_layernorm(x + self.mlp(x))


def _feed_forward(c: Config, index: int) -> nn.Module:
    if c.period and index % c.period == c.period - 1:
        sizes = (c.hidden_size, c.intermediate_size, c.experts, c.top_k)
        return Experts(*sizes, activation="gelu_erf", bias=True)
    if c.gated:
        return nn.GatedMLP(c.hidden_size, c.intermediate_size)
    return nn.MLP(c.hidden_size, c.intermediate_size)


class NomicBert(nn.Module):
    """Tokens to the states of the output rows."""

    def __init__(self, c: Config) -> None:
        self.embeddings = Embeddings(c)
        self.layers = [Layer(c, index) for index in range(c.layers)]

    def forward(self) -> nn.Tensor:
        x = self.embeddings()
        for layer in self.layers:
            x = layer(x)
        return nn.output_rows(x)


def build(c: Config) -> nn.Module:
    """The model for a config, not yet traced."""
    return NomicBert(c)
