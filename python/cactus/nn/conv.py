"""Convolutions along the sequence: causal and depthwise, or over whole frames."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph.node import Slot
from ..graph.trace import Tensor, apply, scope, split
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


class FrameConv(Module):
    """y[f] = b + sum_j W_j x[f - 1 + j] over three neighbouring frames, zeros beyond the ends.

    Computed for every ``stride``-th frame f. The checkpoint's kernel ``[out, in, 3]`` is held as
    the matrix of the windows, ``[out, 3 * in]``.
    """

    TAPS = 3

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        self.weight = Parameter((width, self.TAPS * channels), "matrix", taps=self.TAPS)
        self.bias = Parameter((width,), "vector")
        self.stride = stride

    def outputs(self, frames: Sequence[Tensor]) -> list[Tensor]:
        """What comes of the ``frames`` that a row of the batch holds, one by one."""
        with scope(self.path):
            windows = apply("im2col", *frames, attrs={"taps": self.TAPS, "stride": self.stride})
            count = len(frames) // self.stride
            parts = split(windows, count) if count > 1 else (windows,)
            weights = self.weight.use() | self.bias.use()
            return [
                apply("linear", part, weights=weights, name=f"frame_{i}", attrs={"bias": True})
                for i, part in enumerate(parts)
            ]
