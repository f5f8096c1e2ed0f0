"""Dual encoders: texts and images as vectors of one space, each by a transformer of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cactus.inputs.fields import Fields

from .. import nn
from . import base, vit
from .vision import ACTIVATIONS, VisionConfig


@dataclass(frozen=True)
class DualConfig:
    """The transformer of texts, and ``vision``. Its rows see what comes later unless ``causal``."""

    model_type: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    head_dim: int
    true_head_dim: int
    norm_eps: float
    activation: str
    context_length: int
    causal: bool
    vision: VisionConfig

    @property
    def tied(self) -> bool:
        """No head has a matrix of its own: there is none."""
        return True


def text_sizes(fields: Fields, default: dict[str, Any]) -> dict[str, Any]:
    """What a ``text_config`` says of its transformer; where it says nothing, ``default``."""
    fields = fields.updated({key: each for key, each in default.items() if not fields.has(key)})
    hidden = fields.integer("hidden_size", base.LANE, base.MAX_WIDTH, multiple=base.LANE)
    heads = fields.integer("num_attention_heads", 1, base.MAX_HEADS)
    if hidden % (heads * base.LANE):
        want = f"heads of whole {base.LANE}s in hidden_size {hidden}"
        raise fields.error("num_attention_heads", want, heads)
    return {
        "vocab_size": fields.integer("vocab_size", 1, base.MAX_VOCAB),
        "hidden_size": hidden,
        "intermediate_size": fields.integer(
            "intermediate_size", base.LANE, base.MAX_WIDTH, multiple=base.LANE
        ),
        "layers": fields.integer("num_hidden_layers", 1, base.MAX_LAYERS),
        "heads": heads,
        "head_dim": hidden // heads,
        "true_head_dim": hidden // heads,
        "norm_eps": fields.number("layer_norm_eps", 1e-13, 1e-1),
        "activation": fields.choice("hidden_act", ACTIVATIONS),
        "context_length": fields.integer("max_position_embeddings", 1, 1 << 16),
    }


class TextEmbeddings(nn.Module):
    """Words and their positions, added."""

    def __init__(self, c: DualConfig) -> None:
        self.token_embedding = nn.Embedding(c.vocab_size, c.hidden_size)
        self.position_embedding = nn.PositionEmbedding(c.context_length, c.hidden_size)

    def forward(self) -> nn.Tensor:
        return self.position_embedding(self.token_embedding())


class TextTower(nn.Module):
    """Tokens to the states of the output rows."""

    def __init__(self, c: DualConfig) -> None:
        self.embeddings = TextEmbeddings(c)
        self.encoder = vit.Encoder(c, reach=None if c.causal else 0)
        self.final_layer_norm = nn.LayerNorm(c.hidden_size, c.norm_eps)

    def forward(self) -> nn.Tensor:
        return self.final_layer_norm(nn.output_rows(self.encoder(self.embeddings())))


class DualEncoder(nn.Module):
    """Both halves; what is behind the states of each works on one vector, in Python."""

    def __init__(self, c: DualConfig) -> None:
        self.model = TextTower(c)
        self.vision_tower = vit.Tower(c.vision)

    def forward(self) -> nn.Tensor:
        """The states of a text."""
        return self.model()

    def tower(self) -> nn.Tensor:
        """The states of an image's patches, behind that of its class where it has one."""
        return self.vision_tower()


def build(c: DualConfig) -> nn.Module:
    """The model for a config, not yet traced."""
    return DualEncoder(c)
