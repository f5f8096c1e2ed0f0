"""Self-attention with grouped key/value heads, rotary positions, and optional head norms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..graph.node import Slot
from ..graph.trace import Tensor, apply
from .linear import Linear
from .module import Module
from .norm import HeadNorm
from .rope import RoPE


def attend(
    path: str,
    qkv: Sequence[Tensor],
    heads: int,
    kv_heads: int,
    head_dim: int,
    scale: float,
    window: int,
    reach: int | None,
    rope: RoPE | None = None,
    *,
    within: int | None = None,
    blocks: bool = False,
) -> Tensor:
    """The op for q, k, v, or for one value whose columns they are, which is then rotated by it."""
    shape: dict[str, int] = {"kv_heads": kv_heads, "head_dim": head_dim}
    attrs: dict[str, Any] = {"heads": heads, "scale": scale} | shape
    if len(qkv) == 1 or reach is not None:
        rope = rope or RoPE(())
        attrs |= {"inv_freq": rope.inv_freq, "axes": rope.axes, "rope_scale": rope.scale}
        attrs["norm_eps"] = None
    if reach is not None:
        attrs |= {"reach": reach, "within": within}
        return apply("bidirectional_attention", *qkv, name="attention", attrs=attrs)
    attrs |= {"window": window, "blocks": blocks}
    op, slot = "attention" if len(qkv) == 3 else "qkv_attention", Slot("kv", path, **shape)
    return apply(op, *qkv, slot=slot, name="attention", attrs=attrs)


class Attention(Module):
    """out = W_o · attention(rope(norm(W_q x)), rope(norm(W_k x)), W_v x).

    The norms exist where ``norm_eps`` is given, and there is no rotation where ``rope`` is None.
    Each kv head serves ``heads / kv_heads`` heads. ``scale`` multiplies the scores, by default
    1/sqrt(head_dim). A row sees the last ``window`` positions, its own included; 0 means all. With
    a ``reach`` it sees so many positions to each side instead, what comes later, too; 0 means all;
    with ``within``, an axis of the positions that the caller gives, of these only its neighbours at
    the same place of it. With ``blocks`` a row of features also sees those that follow it.
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
        out_bias: bool = False,
        scale: float | None = None,
        window: int = 0,
        reach: int | None = None,
        within: int | None = None,
        blocks: bool = False,
    ) -> None:
        self.heads, self.kv_heads, self.head_dim, self.rope = heads, kv_heads, head_dim, rope
        self.scale = head_dim**-0.5 if scale is None else scale
        self.window, self.reach = window, reach
        self.within, self.blocks = within, blocks
        self.q_proj = Linear(hidden_size, heads * head_dim, qkv_bias)
        self.k_proj = Linear(hidden_size, kv_heads * head_dim, qkv_bias)
        self.v_proj = Linear(hidden_size, kv_heads * head_dim, qkv_bias)
        self.o_proj = Linear(heads * head_dim, hidden_size, out_bias)
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
        sizes = (self.heads, self.kv_heads, self.head_dim, self.scale, self.window, self.reach)
        sight: dict[str, Any] = {"within": self.within, "blocks": self.blocks}
        return self.o_proj(attend(self.path, (q, k, v), *sizes, **sight))


class MergedAttention(Module):
    """Attention whose queries, keys and values are columns of one product, without norms."""

    def __init__(
        self,
        hidden_size: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        rope: RoPE | None,
        window: int = 0,
        *,
        reach: int | None = None,
        qkv_bias: bool = False,
        out_bias: bool = False,
        scale: float | None = None,
        within: int | None = None,
    ) -> None:
        self.shape = (heads, kv_heads, head_dim)
        self.scale = head_dim**-0.5 if scale is None else scale
        self.window, self.reach, self.within, self.rope = window, reach, within, rope
        self.qkv_proj = Linear(hidden_size, (heads + 2 * kv_heads) * head_dim, qkv_bias)
        self.o_proj = Linear(heads * head_dim, hidden_size, out_bias)

    def forward(self, x: Tensor) -> Tensor:
        sizes = (*self.shape, self.scale, self.window, self.reach)
        qkv = self.qkv_proj(x)
        return self.o_proj(attend(self.path, (qkv,), *sizes, self.rope, within=self.within))
