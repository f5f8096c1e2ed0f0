"""Causal depthwise convolution along the sequence."""

from __future__ import annotations

from ..graph.node import Slot
from ..graph.trace import Tensor, apply
from .module import Module, Parameter


class CausalConv1d(Module):
    """y[t] = sum_j w[:, j] * x[t - (taps-1) + j]: each column by itself.

    The checkpoint's kernel ``[width, 1, taps]`` is held as ``[width, taps]``.
    """

    def __init__(self, width: int, taps: int) -> None:
        self.weight = Parameter((width, taps), "vector")
        self.width, self.taps = width, taps

    def forward(self, x: Tensor) -> Tensor:
        slot = Slot("conv", self.path, width=self.width, taps=self.taps)
        return apply(
            "causal_conv1d",
            x,
            weights=self.weight.use(),
            slot=slot,
            path=self.path,
            attrs={"taps": self.taps},
        )
