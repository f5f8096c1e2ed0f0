"""Which dtype each tensor of a model is stored in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from cactus.weights.format.layout import GROUPS
from cactus.weights.sources.gguf.blocks import (
    FLOATS,
    Q4_KINDS,
    Q4_NL_KINDS,
    STORED,
    check_kind,
)
from cactus.weights.sources.source import SourceTensor

TensorDtypes = Sequence[tuple[SourceTensor, str]]
"""Tensors and the dtypes that they are stored in, "plain" for what is not a matrix."""

PRECISIONS = ("INT4", "INT8", "FP16", "FP32")

_PRECISION_DTYPE = {"INT4": "q4_64", "INT8": "q8_64", "FP16": "f16", "FP32": "f32"}
_DTYPE_PRECISION = {"q4": "INT4", "q4_64": "INT4", "q4_0": "INT4", "q4_nl": "INT4"}
_DTYPE_PRECISION |= {"q8": "INT8", "q8_64": "INT8", "f16": "FP16", "bf16": "FP16", "f32": "FP32"}

# Rows of these are read one at a time or decide every token; 4 bits show there first.
_KEEP_8_BIT = (
    *("embed_tokens.weight", "lm_head.weight"),
    *("word_embeddings.weight", "tok_embeddings.weight"),
)
_LOOKING = ("vision_tower.", "multi_modal_projector.", "deepstack.")
"""The parts that images pass: no text shows which of their errors count, so they keep 8 bits."""


def all_floats(tensors: Iterable[SourceTensor]) -> bool:
    """Whether no matrix of a model is quantised yet: what is comes in groups of 32, mostly.

    Matrices that multiply one value are merged only if all have the same groups.
    """
    return all(tensor.kind in FLOATS for tensor in tensors if len(tensor.shape) == 2)


def choose_dtype(
    tensor: SourceTensor, precision: str | None, *, calibrated: bool = True, wide: bool = True
) -> str:
    """The dtype a tensor is stored in; "plain" for what is not a matrix.

    Where no text is there to show which errors count, 4-bit groups are small ones; `wide` says
    whether 8-bit groups may have 64 columns, as `in_8_bits` does.
    """
    check_kind(tensor.name, tensor.kind)
    if len(tensor.shape) != 2 or tensor.name.endswith(".conv.weight"):
        return "plain"
    if precision is None:
        wanted = STORED[tensor.kind]
    else:
        wanted = _PRECISION_DTYPE[precision]
        if precision == "INT4" and tensor.kind in (*Q4_KINDS, *Q4_NL_KINDS):
            wanted = STORED[tensor.kind]
        elif precision == "INT4" and (
            tensor.name.endswith(_KEEP_8_BIT) or tensor.name.startswith(_LOOKING)
        ):
            wanted = "q8_64"
    if wanted == "q8_64":
        return in_8_bits(tensor, wide)
    if wanted == "q4_64" and not calibrated:
        wanted = "q4"
    return _that_fits(wanted, tensor.shape[1])


def in_8_bits(tensor: SourceTensor, wide: bool) -> str:
    """The dtype of a matrix in 8 bits: groups of 64 columns, which matrix units take at once.

    Not where it reads texts or pictures as a whole: its activations have 8 bits, too, which such
    groups cost half as much again, or are bf16, without groups.
    """
    wide = wide and not tensor.name.startswith(_LOOKING)
    return _that_fits("q8_64" if wide else "q8", tensor.shape[1])


def _that_fits(dtype: str, columns: int) -> str:
    """`dtype`, else the same in smaller groups, else "f16"."""
    for each in (dtype, dtype.removesuffix("_64")):
        if columns % GROUPS.get(each, 1) == 0:
            return each
    return "f16"


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
