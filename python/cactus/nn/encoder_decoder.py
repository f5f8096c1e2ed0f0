"""Attention of encoder-decoder models (Vaswani et al. 2017): to all, to a memory, to the past."""

from __future__ import annotations

from ..graph.node import Slot
from ..graph.trace import Tensor, apply
from .attention import attend
from .linear import Linear
from .module import Module


class _Projections(Module):
    """W_q, W_k, W_v and W_o of ``heads`` heads, with biases but for keys."""

    def __init__(self, hidden_size: int, heads: int) -> None:
        self.heads, self.head_dim = heads, hidden_size // heads
        self.q_proj = Linear(hidden_size, hidden_size, bias=True)
        self.k_proj = Linear(hidden_size, hidden_size)
        self.v_proj = Linear(hidden_size, hidden_size, bias=True)
        self.out_proj = Linear(hidden_size, hidden_size, bias=True)

    @property
    def scale(self) -> float:
        """What scores are multiplied by."""
        return float(self.head_dim**-0.5)

    @property
    def shape(self) -> dict[str, int]:
        """That of keys and values."""
        return {"kv_heads": self.heads, "head_dim": self.head_dim}


class SelfAttention(_Projections):
    """out = W_o · softmax(W_q x · W_k x / sqrt(head_dim)) W_v x, over all rows: an encoder's."""

    def forward(self, x: Tensor) -> Tensor:
        qkv = (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        sizes = (self.heads, self.heads, self.head_dim, self.scale)
        return self.out_proj(attend(self.path, qkv, *sizes, window=0, reach=0))


class MemoryAttention(_Projections):
    """out = W_o · softmax(W_q x · K / sqrt(head_dim)) V, over all of a memory: a decoder's.

    K and V are what ``remember`` has stored for this module.
    """

    def forward(self, x: Tensor) -> Tensor:
        attrs = {"heads": self.heads, "scale": self.scale} | self.shape
        attended = apply("memory_attention", self.q_proj(x), slot=self._slot, attrs=attrs)
        return self.out_proj(attended)

    def remember(self, states: Tensor) -> None:
        """Store the keys and values of ``states``, in the graph of the encoder."""
        k, v = self.k_proj(states), self.v_proj(states)
        path = f"{self.path}.store_memory"
        apply("store_memory", k, v, slot=self._slot, path=path, attrs=self.shape)

    @property
    def _slot(self) -> Slot:
        return Slot("memory", self.path, **self.shape)


class CausalAttention(_Projections):
    """out = W_o · attention(W_q x, W_k x, W_v x): no rotation, the past alone."""

    def forward(self, x: Tensor) -> Tensor:
        qkv = (self.q_proj(x), self.k_proj(x), self.v_proj(x))
        sizes = (self.heads, self.heads, self.head_dim, self.scale)
        return self.out_proj(attend(self.path, qkv, *sizes, window=0, reach=None))
