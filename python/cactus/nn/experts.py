"""A feed-forward layer of many experts, of which each row asks a few (Shazeer et al. 2017)."""

from __future__ import annotations

from typing import Literal

from ..graph.trace import Tensor, apply
from .linear import Linear
from .module import Module, Parameter


class Experts(Module):
    """out = sum over the chosen experts e of c_e · W2_e activation(W1_e x) (+ bias).

    ``router`` gives the logits of the experts; see the op ``experts`` of ``graph.ops`` for how
    ``scoring``, ``norm_eps`` and ``scale`` make c_e of them. ``w1`` has the experts one behind the
    other, ``[experts * n, hidden_size]``, n being ``intermediate_size`` or twice that with
    "swiglu", the gate's rows first; ``w2`` likewise, ``[experts * hidden_size,
    intermediate_size]``. ``preference`` is added to the probabilities where experts are chosen.
    """

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        experts: int,
        top_k: int,
        *,
        scoring: Literal["softmax", "sigmoid"] = "softmax",
        norm_eps: float | None = None,
        scale: float = 1.0,
        activation: Literal["gelu_erf", "swiglu"] = "swiglu",
        bias: bool = False,
        preference: bool = False,
    ) -> None:
        rows = intermediate_size * (2 if activation == "swiglu" else 1)
        self.router = Linear(hidden_size, experts)
        self.w1 = Parameter((experts * rows, hidden_size), "matrix")
        self.w2 = Parameter((experts * hidden_size, intermediate_size), "matrix")
        self.bias = Parameter((hidden_size,), "vector") if bias else None
        self.preference = Parameter((experts,), "vector") if preference else None
        self.attrs = {
            "experts": experts,
            "top_k": top_k,
            "scoring": scoring,
            "norm_eps": norm_eps,
            "scale": scale,
            "activation": activation,
            "bias": bias,
            "preference": preference,
        }

    def forward(self, x: Tensor) -> Tensor:
        weights = self.w1.use() | self.w2.use()
        for vector in (self.bias, self.preference):
            weights |= vector.use() if vector else {}
        return apply("experts", x, self.router(x), weights=weights, attrs=self.attrs)
