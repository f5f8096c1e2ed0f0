"""Static embeddings (model2vec, Tulkens and van Dongen 2024): a vector for each token."""

from __future__ import annotations

from dataclasses import dataclass

from cactus.inputs.fields import Fields

from .. import nn
from . import base

ABILITIES = ("embed",)


@dataclass(frozen=True)
class Config:
    """The table's sizes; ``vocab_size`` is the number of its rows, which no config says."""

    model_type: str
    vocab_size: int
    hidden_size: int
    context_length: int
    tied: bool = True

    @classmethod
    def parse(cls, fields: Fields) -> Config:
        """Read and check config.json; ModelFormatError naming the key."""
        return cls(
            model_type="model2vec",
            vocab_size=fields.integer("vocab_size", 1, base.MAX_VOCAB, 1),
            hidden_size=fields.integer("hidden_dim", 16, base.MAX_WIDTH, 16, multiple=base.LANE),
            context_length=fields.integer("seq_length", 1, base.MAX_CONTEXT, base.MAX_CONTEXT),
        )


class Static(nn.Module):
    """Tokens to their vectors."""

    def __init__(self, c: Config) -> None:
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)

    def forward(self) -> nn.Tensor:
        return nn.output_rows(self.embed_tokens())


def build(c: Config) -> nn.Module:
    """The model for a config, not yet traced."""
    return Static(c)
