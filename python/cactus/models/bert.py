"""BERT (Devlin et al. 2018) as it embeds and ranks: MiniLM, bge, e5, gte, cross-encoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cactus.inputs.fields import Fields

from .. import nn
from . import base
from .encoder import EncoderConfig, common

ABILITIES = ("embed", "rerank")


@dataclass(frozen=True)
class Config(EncoderConfig):
    """Tokens behind the first ``separator`` are of the second of ``types``; None: all of the first.

    ``first_position`` is the row of the first token in the table of positions.
    """

    types: int
    separator: int | None
    first_position: int

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        """Read and check config.json; ModelFormatError or UnsupportedModel naming the key."""
        fields.choice("hidden_act", ("gelu",), "gelu")
        fields.choice("position_embedding_type", ("absolute",), "absolute")
        fields.refuse("is_decoder", "only encoders are supported")
        separator = None
        if fields.has("sep_token_id"):
            separator = fields.integer("sep_token_id", 0, base.MAX_VOCAB)
        types = fields.integer("type_vocab_size", 1, 1 << 10, 2)
        shared = common(fields, eps_key="layer_norm_eps")
        return cls(**shared, types=types, separator=separator, first_position=0)


class Attention(nn.Attention):
    """Attention with biases, by BERT's words."""

    names: ClassVar = {
        "q_proj": "self.query",
        "k_proj": "self.key",
        "v_proj": "self.value",
        "o_proj": "output.dense",
    }

    def __init__(self, c: Config) -> None:
        heads = (c.heads, c.heads, c.head_dim)
        super().__init__(c.hidden_size, *heads, None, qkv_bias=True, out_bias=True, reach=0)


class Layer(nn.Module):
    """Attention, then feed-forward, each added to its input and normed together."""

    names: ClassVar = {
        "attention_norm": "attention.output.LayerNorm",
        "up_proj": "intermediate.dense",
        "down_proj": "output.dense",
        "norm": "output.LayerNorm",
    }

    def __init__(self, c: Config) -> None:
        self.attention = Attention(c)
        self.attention_norm = nn.LayerNorm(c.hidden_size, c.norm_eps)
        self.up_proj = nn.Linear(c.hidden_size, c.intermediate_size, bias=True)
        self.down_proj = nn.Linear(c.intermediate_size, c.hidden_size, bias=True)
        self.norm = nn.LayerNorm(c.hidden_size, c.norm_eps)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = self.attention_norm(x + self.attention(x))
        return self.norm(x + self.down_proj(nn.gelu_erf(self.up_proj(x))))


class Embeddings(nn.Module):
    """Words, the part of a pair that they are in, and positions, added and normed."""

    names: ClassVar = {"norm": "LayerNorm"}

    def __init__(self, c: Config) -> None:
        rows = c.first_position + c.context_length
        self.word_embeddings = nn.Embedding(c.vocab_size, c.hidden_size)
        self.token_type_embeddings = nn.SegmentEmbedding(c.types, c.hidden_size, c.separator)
        self.position_embeddings = nn.PositionEmbedding(rows, c.hidden_size, c.first_position)
        self.norm = nn.LayerNorm(c.hidden_size, c.norm_eps)

    def forward(self) -> nn.Tensor:
        x = self.token_type_embeddings(self.word_embeddings())
        return self.norm(self.position_embeddings(x))


class Encoder(nn.Module):
    """What lies under ``encoder.`` in a checkpoint."""

    def __init__(self, c: Config) -> None:
        self.layer = [Layer(c) for _ in range(c.layers)]

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        for layer in self.layer:
            x = layer(x)
        return x


class Bert(nn.Module):
    """Tokens to the states of the output rows."""

    def __init__(self, c: Config) -> None:
        self.embeddings = Embeddings(c)
        self.encoder = Encoder(c)

    def forward(self) -> nn.Tensor:
        return nn.output_rows(self.encoder(self.embeddings()))


def build(c: Config) -> nn.Module:
    """The model for a config, not yet traced."""
    return Bert(c)
