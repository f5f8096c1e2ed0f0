"""Causal self-attention with grouped key/value heads, rotary positions, and optional head norms."""

from __future__ import annotations

from ..graph.node import Slot
from ..graph.trace import Tensor, apply
from .linear import Linear
from .module import Module
from .norm import HeadNorm
from .rope import RoPE


class Attention(Module):
    """out = W_o · attention(rope(norm(W_q x)), rope(norm(W_k x)), W_v x), scale 1/sqrt(head_dim).

    The norms exist where ``norm_eps`` is given. Each kv head serves ``heads / kv_heads`` heads.
    """

    def __init__(
        self,
        hidden_size: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        rope: RoPE,
        norm_eps: float | None = None,
    ) -> None:
        self.heads, self.kv_heads, self.head_dim, self.rope = heads, kv_heads, head_dim, rope
        self.q_proj = Linear(hidden_size, heads * head_dim)
        self.k_proj = Linear(hidden_size, kv_heads * head_dim)
        self.v_proj = Linear(hidden_size, kv_heads * head_dim)
        self.o_proj = Linear(heads * head_dim, hidden_size)
        self.q_norm = HeadNorm(head_dim, norm_eps) if norm_eps is not None else None
        self.k_norm = HeadNorm(head_dim, norm_eps) if norm_eps is not None else None

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q = self.rope(q, self.head_dim, "q_rope")
        k = self.rope(k, self.head_dim, "k_rope")
        attended = apply(
            "attention",
            q,
            k,
            v,
            slot=Slot("kv", self.path, kv_heads=self.kv_heads, head_dim=self.head_dim),
            attrs={
                "heads": self.heads,
                "kv_heads": self.kv_heads,
                "head_dim": self.head_dim,
                "scale": self.head_dim**-0.5,
            },
        )
        return self.o_proj(attended)
