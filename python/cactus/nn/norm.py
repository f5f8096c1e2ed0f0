"""Root-mean-square norms (Zhang and Sennrich 2019), over a row or each head; layer norm."""

from __future__ import annotations

from ..graph.trace import Tensor, apply
from .module import Module, Parameter


class RMSNorm(Module):
    """x / sqrt(mean(x^2) + eps) * w over the whole row; a checkpoint holds w - ``offset``."""

    def __init__(self, width: int, eps: float, offset: float = 0.0) -> None:
        self.weight = Parameter((width,), "vector", offset)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return apply(
            "rms_norm", x, weights=self.weight.use(), path=self.path, attrs={"eps": self.eps}
        )


class HeadNorm(Module):
    """RMSNorm of each head by itself, one weight ``[head_dim]`` for all heads."""

    def __init__(self, head_dim: int, eps: float, offset: float = 0.0) -> None:
        self.weight = Parameter((head_dim,), "vector", offset)
        self.head_dim, self.eps = head_dim, eps

    def forward(self, x: Tensor) -> Tensor:
        attrs = {"eps": self.eps, "head_dim": self.head_dim}
        return apply("head_norm", x, weights=self.weight.use(), path=self.path, attrs=attrs)


class LayerNorm(Module):
    """(x - mean) / sqrt(variance + eps) * w (+ b) over the whole row (Ba et al. 2016)."""

    def __init__(self, width: int, eps: float = 1e-5, *, bias: bool = True) -> None:
        self.weight = Parameter((width,), "vector")
        self.bias = Parameter((width,), "vector") if bias else None
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        weights = self.weight.use() | (self.bias.use() if self.bias else {})
        return apply("layer_norm", x, weights=weights, path=self.path, attrs={"eps": self.eps})
