"""Attention of encoder-decoder models (Vaswani et al. 2017): to a memory, and to the past."""

from __future__ import annotations

from ..graph.node import Slot
from ..graph.trace import Tensor, apply
from .linear import Linear
from .module import Module


class MemoryAttention(Module):
    """out = W_o · softmax(q · K / sqrt(head_dim)) V, over all positions, with biases but for keys.

    ``scratch``: keys and values come from x itself, and the named slot holds them for the moment:
    an encoder's self-attention, whose layers share one slot. Without it they are what ``remember``
    has stored for this module, and x only asks: a decoder's cross-attention.
    """

    def __init__(self, hidden_size: int, heads: int, scratch: str | None = None) -> None:
        self.heads, self.head_dim, self.scratch = heads, hidden_size // heads, scratch
        self.q_proj = Linear(hidden_size, hidden_size, bias=True)
        self.k_proj = Linear(hidden_size, hidden_size)
        self.v_proj = Linear(hidden_size, hidden_size, bias=True)
        self.out_proj = Linear(hidden_size, hidden_size, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        given = [self.q_proj(x)]
        if self.scratch:
            given += [self.k_proj(x), self.v_proj(x)]
        attrs = {"heads": self.heads, "scale": self.head_dim**-0.5} | self._shape
        return self.out_proj(apply("memory_attention", *given, slot=self._slot, attrs=attrs))

    def remember(self, states: Tensor) -> None:
        """Store the keys and values of ``states``, in the graph of the encoder."""
        k, v = self.k_proj(states), self.v_proj(states)
        path = f"{self.path}.store_memory"
        apply("store_memory", k, v, slot=self._slot, path=path, attrs=self._shape)

    @property
    def _shape(self) -> dict[str, int]:
        return {"kv_heads": self.heads, "head_dim": self.head_dim}

    @property
    def _slot(self) -> Slot:
        return Slot("memory", self.scratch or self.path, **self._shape)


class CausalAttention(Module):
    """out = W_o · attention(W_q x, W_k x, W_v x): no rotation, biases but for keys."""

    def __init__(self, hidden_size: int, heads: int) -> None:
        self.heads, self.head_dim = heads, hidden_size // heads
        self.q_proj = Linear(hidden_size, hidden_size, bias=True)
        self.k_proj = Linear(hidden_size, hidden_size)
        self.v_proj = Linear(hidden_size, hidden_size, bias=True)
        self.out_proj = Linear(hidden_size, hidden_size, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        shape = {"kv_heads": self.heads, "head_dim": self.head_dim}
        attended = apply(
            "attention",
            self.q_proj(x),
            self.k_proj(x),
            self.v_proj(x),
            slot=Slot("kv", self.path, **shape),
            attrs={"heads": self.heads, "scale": self.head_dim**-0.5, "window": 0} | shape,
        )
        return self.out_proj(attended)
