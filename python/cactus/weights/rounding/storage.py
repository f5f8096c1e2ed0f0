"""Which dtype each tensor of a model is stored in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from cactus.errors import UnsupportedModel
from cactus.weights.format.layout import GROUPS
from cactus.weights.sources.gguf.blocks import DEQUANTIZE, Q4_KINDS, STORED
from cactus.weights.sources.source import SourceTensor

TensorDtypes = Sequence[tuple[SourceTensor, str]]
"""Tensors and the dtypes that they are stored in, "plain" for what is not a matrix."""

PRECISIONS = ("INT4", "INT8", "FP16", "FP32")

_PRECISION_DTYPE = {"INT4": "q4_64", "INT8": "q8", "FP16": "f16", "FP32": "f32"}
_DTYPE_PRECISION = {"q4": "INT4", "q4_64": "INT4", "q4_0": "INT4"}
_DTYPE_PRECISION |= {"q8": "INT8", "q8_64": "INT8", "f16": "FP16", "bf16": "FP16", "f32": "FP32"}

# Rows of these are read one at a time or decide every token; 4 bits show there first.
_KEEP_8_BIT = (
    *("embed_tokens.weight", "lm_head.weight"),
    *("word_embeddings.weight", "tok_embeddings.weight"),
)
_LOOKING = ("vision_tower.", "multi_modal_projector.", "deepstack.")
"""The parts that images pass: no text shows which of their errors count, so they keep 8 bits."""


def choose_dtype(tensor: SourceTensor, precision: str | None, *, calibrated: bool = True) -> str:
    """The dtype a tensor is stored in; "plain" for what is not a matrix.

    Where no text is there to show which errors count, 4-bit groups are small ones.
    """
    if tensor.kind not in DEQUANTIZE:
        raise UnsupportedModel(
            f"tensor {tensor.name!r} has the type {tensor.kind}, which cannot be converted; "
            f"supported: {', '.join(sorted(DEQUANTIZE))}"
        )
    if len(tensor.shape) != 2 or tensor.name.endswith(".conv.weight"):
        return "plain"
    if precision is None:
        wanted = STORED[tensor.kind]
    else:
        wanted = _PRECISION_DTYPE[precision]
        if precision == "INT4" and tensor.kind in Q4_KINDS:
            wanted = STORED[tensor.kind]
        elif precision == "INT4" and (
            tensor.name.endswith(_KEEP_8_BIT) or tensor.name.startswith(_LOOKING)
        ):
            wanted = "q8"
    if wanted == "q4_64" and (not calibrated or tensor.shape[1] % GROUPS[wanted]):
        wanted = "q4"
    if wanted in GROUPS and tensor.shape[1] % GROUPS[wanted]:
        return "f16"
    return wanted


def searched(tensor: SourceTensor, dtype: str) -> bool:
    """Whether the codes of this matrix are searched for, not taken from the source."""
    return dtype in ("q4", "q4_64") and tensor.kind not in Q4_KINDS


def precision_of(tensors: TensorDtypes) -> str:
    """The precision most values are stored in."""
    counts: Counter[str] = Counter()
    for tensor, dtype in tensors:
        if dtype != "plain":
            counts[_DTYPE_PRECISION[dtype]] += math.prod(tensor.shape)
    return counts.most_common(1)[0][0] if counts else "FP32"
