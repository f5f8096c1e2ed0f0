"""Feed-forward layers, plain and gated (Shazeer 2020)."""

from __future__ import annotations

from collections.abc import Callable

from ..graph.trace import Tensor, gelu_erf, silu, split
from .linear import Linear
from .module import Module


class MLP(Module):
    """out = W_2 · activation(W_1 x + b_1) + b_2."""

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        activation: Callable[[Tensor], Tensor] = gelu_erf,
    ) -> None:
        self.activation = activation
        self.fc1 = Linear(hidden_size, intermediate_size, bias=True)
        self.fc2 = Linear(intermediate_size, hidden_size, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


class GatedMLP(Module):
    """out = W_down · (activation(W_gate x) * W_up x), each product with a bias where it has one."""

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        activation: Callable[[Tensor], Tensor] = silu,
        *,
        bias: bool = False,
    ) -> None:
        self.activation = activation
        self.gate_proj = Linear(hidden_size, intermediate_size, bias)
        self.up_proj = Linear(hidden_size, intermediate_size, bias)
        self.down_proj = Linear(intermediate_size, hidden_size, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))


class MergedMLP(Module):
    """out = W_down · (activation(gate) * up), gate and up the halves of W x."""

    def __init__(
        self,
        hidden_size: int,
        intermediate_size: int,
        activation: Callable[[Tensor], Tensor] = silu,
    ) -> None:
        self.activation = activation
        self.gate_up_proj = Linear(hidden_size, 2 * intermediate_size)
        self.down_proj = Linear(intermediate_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = split(self.gate_up_proj(x), 2)
        return self.down_proj(self.activation(gate) * up)
