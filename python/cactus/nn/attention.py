"""Causal self-attention with grouped key/value heads, rotary positions, and optional head norms."""

from __future__ import annotations

from ..graph.node import Slot
from ..graph.trace import Tensor, apply
from .linear import Linear
from .module import Module
from .norm import HeadNorm
from .rope import RoPE


class Attention(Module):
    """out = W_o · attention(rope(norm(W_q x)), rope(norm(W_k x)), W_v x).

    The norms exist where ``norm_eps`` is given, and there is no rotation where ``rope`` is None.
    Each kv head serves ``heads / kv_heads`` heads. ``scale`` multiplies the scores, by default
    1/sqrt(head_dim). A row sees the last ``window`` positions, its own included; 0 means all.
    """

    def __init__(
        self,
        hidden_size: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        rope: RoPE | None,
        norm_eps: float | None = None,
        *,
        norm_offset: float = 0.0,
        qkv_bias: bool = False,
        scale: float | None = None,
        window: int = 0,
    ) -> None:
        self.heads, self.kv_heads, self.head_dim, self.rope = heads, kv_heads, head_dim, rope
        self.scale = head_dim**-0.5 if scale is None else scale
        self.window = window
        self.q_proj = Linear(hidden_size, heads * head_dim, qkv_bias)
        self.k_proj = Linear(hidden_size, kv_heads * head_dim, qkv_bias)
        self.v_proj = Linear(hidden_size, kv_heads * head_dim, qkv_bias)
        self.o_proj = Linear(heads * head_dim, hidden_size)
        self.q_norm = self.k_norm = None
        if norm_eps is not None:
            self.q_norm = HeadNorm(head_dim, norm_eps, norm_offset)
            self.k_norm = HeadNorm(head_dim, norm_eps, norm_offset)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.rope is not None:
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
                "scale": self.scale,
                "window": self.window,
            },
        )
        return self.o_proj(attended)


class MergedAttention(Module):
    """Attention whose queries, keys and values are columns of one product, without norms."""

    def __init__(
        self,
        hidden_size: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        rope: RoPE,
        window: int = 0,
    ) -> None:
        self.slot = {"kv_heads": kv_heads, "head_dim": head_dim}
        self.attrs = {
            **self.slot,
            "heads": heads,
            "scale": head_dim**-0.5,
            "window": window,
            "inv_freq": rope.inv_freq,
            "rope_scale": rope.scale,
            "norm_eps": None,
        }
        self.qkv_proj = Linear(hidden_size, (heads + 2 * kv_heads) * head_dim)
        self.o_proj = Linear(heads * head_dim, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        qkv, slot = self.qkv_proj(x), Slot("kv", self.path, **self.slot)
        return self.o_proj(
            apply("qkv_attention", qkv, slot=slot, name="attention", attrs=self.attrs)
        )
