"""The blocks that model files are made of."""

from ..graph.trace import (
    Tensor,
    add_features,
    features,
    gelu,
    gelu_erf,
    output_rows,
    silu,
    split,
    with_features,
)
from .attention import Attention, MergedAttention
from .conv import CausalConv1d, FrameConv
from .encoder_decoder import CausalAttention, MemoryAttention, SelfAttention
from .experts import Experts
from .linear import Embedding, Linear, PositionEmbedding, SegmentEmbedding
from .mlp import MLP, GatedMLP, MergedMLP
from .module import Module, Parameter
from .norm import HeadNorm, LayerNorm, RMSNorm
from .rope import RoPE, linear_stretch, llama3_stretch

__all__ = [
    "MLP",
    "Attention",
    "CausalAttention",
    "CausalConv1d",
    "Embedding",
    "Experts",
    "FrameConv",
    "GatedMLP",
    "HeadNorm",
    "LayerNorm",
    "Linear",
    "MemoryAttention",
    "MergedAttention",
    "MergedMLP",
    "Module",
    "Parameter",
    "PositionEmbedding",
    "RMSNorm",
    "RoPE",
    "SegmentEmbedding",
    "SelfAttention",
    "Tensor",
    "add_features",
    "features",
    "gelu",
    "gelu_erf",
    "linear_stretch",
    "llama3_stretch",
    "output_rows",
    "silu",
    "split",
    "with_features",
]
