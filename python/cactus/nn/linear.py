"""Linear and Embedding, the users of weight matrices ``[rows, cols]``; and learned positions."""

from __future__ import annotations

from ..graph.trace import Tensor, apply
from .module import Module, Parameter


class Linear(Module):
    """y = W x (+ b), W of shape ``[out_features, in_features]``."""

    def __init__(self, in_features: int, out_features: int, bias: bool = False) -> None:
        self.weight = Parameter((out_features, in_features), "matrix")
        self.bias = Parameter((out_features,), "vector") if bias else None

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is None:
            return apply("linear", x, weights=self.weight.use(), path=self.path)
        weights = self.weight.use() | self.bias.use()
        return apply("linear", x, weights=weights, path=self.path, attrs={"bias": True})


class Embedding(Module):
    """A row of W for each token of the batch, W of shape ``[vocab_size, width]``."""

    def __init__(self, vocab_size: int, width: int) -> None:
        self.weight = Parameter((vocab_size, width), "matrix")

    def forward(self) -> Tensor:
        return apply("embed", weights=self.weight.use(), path=self.path)

    def as_linear(self, x: Tensor, path: str) -> Tensor:
        """Logits with the same matrix (tied embeddings); the node is called ``path``."""
        return apply("linear", x, weights=self.weight.use(), path=path)


class PositionEmbedding(Module):
    """x + the row position + ``offset`` of W, W of shape ``[positions, width]``."""

    def __init__(self, positions: int, width: int, offset: int = 0) -> None:
        self.weight = Parameter((positions, width), "vector")
        self.offset = offset

    def forward(self, x: Tensor) -> Tensor:
        attrs = {"offset": self.offset}
        return apply("add_position", x, weights=self.weight.use(), path=self.path, attrs=attrs)


class SegmentEmbedding(Module):
    """x + a row of W for the segment of its text, W of shape ``[segments, width]``.

    A segment ends with the token ``separator``; None: all rows are of the first.
    """

    def __init__(self, segments: int, width: int, separator: int | None = None) -> None:
        self.weight = Parameter((segments, width), "vector")
        self.separator = separator

    def forward(self, x: Tensor) -> Tensor:
        attrs = {"separator": self.separator}
        return apply("add_segment", x, weights=self.weight.use(), path=self.path, attrs=attrs)
