"""The blocks that model files are made of."""

from ..graph.trace import Tensor, gelu, output_rows, silu, split
from .attention import Attention, MergedAttention
from .conv import CausalConv1d
from .linear import Embedding, Linear
from .mlp import GatedMLP, MergedMLP
from .module import Module, Parameter
from .norm import HeadNorm, RMSNorm
from .rope import RoPE, linear_stretch, llama3_stretch

__all__ = [
    "Attention",
    "CausalConv1d",
    "Embedding",
    "GatedMLP",
    "HeadNorm",
    "Linear",
    "MergedAttention",
    "MergedMLP",
    "Module",
    "Parameter",
    "RMSNorm",
    "RoPE",
    "Tensor",
    "gelu",
    "linear_stretch",
    "llama3_stretch",
    "output_rows",
    "silu",
    "split",
]
