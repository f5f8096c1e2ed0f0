"""What text encoders share: every token sees all of its text, and the states are the output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cactus.inputs.fields import Fields

from . import base


@dataclass(frozen=True)
class EncoderConfig:
    """What every encoder says of itself, checked. Sizes in floats or tokens."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    context_length: int
    norm_eps: float

    @property
    def tied(self) -> bool:
        """No head has a matrix of its own: there is none."""
        return True

    @property
    def head_dim(self) -> int:
        """Floats of one head."""
        return self.hidden_size // self.heads


def common(fields: Fields, *, eps_key: str) -> dict[str, Any]:
    """The arguments of ``EncoderConfig`` that are spelled alike in every checkpoint."""
    hidden_size = fields.integer("hidden_size", base.LANE, base.MAX_WIDTH, multiple=base.LANE)
    heads = fields.integer("num_attention_heads", 1, base.MAX_HEADS)
    if hidden_size % (heads * base.LANE):
        want = f"heads of whole {base.LANE}s in hidden_size {hidden_size}"
        raise fields.error("num_attention_heads", want, heads)
    return {
        "model_type": fields.raw["model_type"],
        "vocab_size": fields.integer("vocab_size", 1, base.MAX_VOCAB),
        "hidden_size": hidden_size,
        "intermediate_size": fields.integer(
            "intermediate_size", base.LANE, base.MAX_WIDTH, multiple=base.LANE
        ),
        "layers": fields.integer("num_hidden_layers", 1, base.MAX_LAYERS),
        "heads": heads,
        "context_length": fields.integer("max_position_embeddings", 1, base.MAX_CONTEXT),
        # An f32 of 1e-12 is a little less than that.
        "norm_eps": fields.number(eps_key, 1e-13, 1e-1),
    }
