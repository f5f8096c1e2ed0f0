"""4-bit rounding that makes up for its own errors, as the layer's inputs weigh them.

With E = W - Q, what is lost on inputs x with H = sum of x xT is the trace of E H ET. Let H = R RT
with R upper triangular, r its diagonal and M = R / r, whose diagonal is 1. A row then loses

    sum over columns k of r_k^2 (e_k + sum over j < k of e_j M_jk)^2

and each term is as small as it can be when column k is not rounded from w_k but from
w_k + sum e_j M_jk: the errors of the columns before it, as far as this one can make up for them.
This is the algorithm of GPTQ (Frantar et al. 2022) in the form of LDLQ (Chee et al. 2023), which
needs no inverse of H. The scale and minimum of a group are searched for when its turn comes, with
r^2 as weights; groups and the columns in them go from the largest diagonal of H to the smallest.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cactus.weights.format.tiles import F16, F32, U8
from cactus.weights.rounding.quantize import quantize_q4, round_q4

REACH = 2048
"""Columns that make up for each other at most; it bounds memory and time of wide layers."""

DAMPING = 0.01
"""What is added to the diagonal of H, as a share of its mean: inputs that no text showed."""


@dataclass(frozen=True)
class Feedback:
    """What the columns of one stretch tell each other.

    `order` [n] are the columns in the order of rounding, whole groups of `group` after each other;
    `strengths` [n] is r^2 in units of `mean` and `shares` [n, n] is M, both in that order.
    """

    group: int
    order: NDArray[np.intp]
    mean: float
    strengths: F32
    shares: F32


def stretches(columns: int, group: int) -> list[slice]:
    """The columns in as few parts of at most `REACH` as possible, all of whole groups."""
    groups = columns // group
    count = -(-columns // REACH)
    ends = [groups * i // count * group for i in range(count + 1)]
    return [slice(a, b) for a, b in pairwise(ends)]


def feedback(gram: F32, group: int) -> Feedback:
    """Prepare H [n, n] of inputs; one that is zero or not finite leaves plain rounding."""
    size = len(gram)
    wide = gram.astype(np.float64)
    diagonal = wide.diagonal().copy()
    mean = float(diagonal.mean())
    if not np.isfinite(wide).all() or not mean > 0:
        even = np.ones(size, np.float32)
        return Feedback(group, np.arange(size), 1.0, even, np.eye(size, dtype=np.float32))
    by_group = diagonal.reshape(-1, group)
    groups = np.argsort(-by_group.sum(axis=1), kind="stable")
    inside = np.argsort(-by_group, axis=1, kind="stable")
    order = (groups[:, None] * group + inside[groups]).reshape(-1)
    wide = wide[np.ix_(order, order)] / mean
    wide[np.diag_indices(size)] += DAMPING
    # H = R RT with R upper: the usual Cholesky factor of H read backwards.
    factor = np.linalg.cholesky(wide[::-1, ::-1])[::-1, ::-1]
    roots = factor.diagonal()
    strengths, shares = (roots * roots).astype(np.float32), (factor / roots).astype(np.float32)
    return Feedback(group, order, mean, strengths, shares)


class Fitted(NamedTuple):
    """Codes, scales and minima as `quantize_q4` gives them, and the trace of E H ET."""

    codes: U8
    scales: F16
    minima: F16
    loss: float


def quantize_with_feedback(values: F32, feedback: Feedback) -> Fitted:
    """`quantize_q4` of `values` [rows, n], each column rounded with the errors before it in mind.

    Rows do not depend on each other. Raises `OverflowError` beyond f16.
    """
    rows, size = values.shape
    group, shares = feedback.group, feedback.shares
    # Columns lie in rows: a column is what all of this works on.
    ordered = np.ascontiguousarray(values.T[feedback.order])
    errors = np.empty_like(ordered)
    codes = np.empty((size, rows), np.uint8)
    scales = np.empty((rows, size // group), np.float16)
    minima = np.empty_like(scales)
    loss = 0.0
    for start in range(0, size, group):
        stop = start + group
        wanted = ordered[start:stop] + shares[:start, start:stop].T @ errors[:start]
        fitted = quantize_q4(
            np.ascontiguousarray(wanted.T), group, weights=feedback.strengths[start:stop]
        )
        place = feedback.order[start] // group
        scale, minimum = fitted[1][:, 0], fitted[2][:, 0]
        scales[:, place], minima[:, place] = scale, minimum
        wide_scale, wide_minimum = scale.astype(np.float32), minimum.astype(np.float32)
        for column in range(start, stop):
            target = wanted[column - start]
            target += shares[start:column, column] @ errors[start:column]
            code = round_q4(target, scale, minimum)
            codes[column] = code
            code *= wide_scale
            code += wide_minimum
            np.subtract(ordered[column], code, out=errors[column])
            target -= code
            loss += float(feedback.strengths[column]) * float(np.dot(target, target))
    restored = np.empty_like(codes)
    restored[feedback.order] = codes
    return Fitted(np.ascontiguousarray(restored.T), scales, minima, loss * feedback.mean)
