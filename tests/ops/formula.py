"""Checks the reference against each op's formula, which the op's test writes out in f64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tests.ops.cases import FEATURED, WHOLE, Built, Case, build, run_reference
from tests.tolerances import assert_close

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fed:
    """One row of a batch: whose it is, where in its sequence, and the op's inputs there.

    ``given`` is the position on each axis that the caller gives; rows of features among tokens have
    them as their second input.
    """

    sequence: int
    position: int
    token: int
    x: list[Vector]
    given: Sequence[float] = ()


Formula = Callable[[Case, Fed, Sequence[Fed], list[Vector]], Vector]
"""(case, the row, all rows of its sequence up to it (an encoder's: all), weights) -> the output."""


def feed(built: Built) -> list[Fed]:
    """Every row that the steps of a case send through the op, in order."""
    position, places = [0] * len(built.case.chunks), built.positions.tolist()
    rows = []
    for step in built.steps:
        for sequence, tokens in enumerate(step):
            for token in tokens:
                x = [
                    built.tensors[f"input{i}"][token].astype(np.float64)
                    for i in range(len(built.case.inputs))
                ]
                if built.case.among_tokens and token % 3 == 0:
                    features = built.tensors["features"][token].astype(np.float64)
                    if built.case.attrs.get("blocks"):
                        x = [features[: len(each)] for each in x]
                    else:
                        x.append(features)
                rows.append(Fed(sequence, position[sequence], token, x, places[token]))
                position[sequence] += 1
    return rows


def check(case: Case, formula: Formula, *, quantized: int = 0, **options: str) -> None:
    """Fail where the reference's rows are not what the formula says; see ``build``."""
    built = build(case, quantized=quantized)
    weights = [built.tensors[f"weight{i}"].astype(np.float64) for i in range(len(case.weights))]
    rows = feed(built)
    want = []
    for row in rows:
        # An encoder sees what comes later, too, and so do rows of features.
        whole = case.op in FEATURED | WHOLE or case.attrs.get("blocks")
        past = [
            r for r in rows if r.sequence == row.sequence and (whole or r.position <= row.position)
        ]
        want.append(formula(case, row, past, weights))
    assert_close(run_reference(built, **options), np.stack(want), "f32", f"{case.op} {case.id}")


def softmax_attention(
    q: Vector, keys: Sequence[Vector], values: Sequence[Vector], case: Case
) -> Vector:
    """Attention of one flat query row over flat key and value rows."""
    heads, kv_heads, dim = case.attrs["heads"], case.attrs["kv_heads"], case.attrs["head_dim"]
    k, v = np.stack(keys), np.stack(values)
    out = []
    for head in range(heads):
        g = head // (heads // kv_heads)
        query = q[head * dim : (head + 1) * dim]
        span = slice(g * dim, (g + 1) * dim)
        scores = case.attrs["scale"] * (k[:, span] @ query)
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        out.append(weights @ v[:, span])
    return np.concatenate(out)


def seen_by(case: Case, row: Fed, rows: Sequence[Fed]) -> list[Fed]:
    """What a row attends to, of its sequence."""
    window = case.attrs.get("window") or len(rows)
    last = row.position + 1
    if case.attrs.get("blocks") and row.token % 3 == 0:
        others = [each.position for each in rows if each.token % 3 != 0]
        last = min((at for at in others if at > row.position), default=len(rows))
    return [each for each in rows if row.position - window < each.position < last]


def project(case: Case, row: Fed, weights: list[Vector]) -> list[Vector]:
    """q, k, v of a row as attention sees them."""
    attrs, dim = case.attrs, case.attrs["head_dim"]
    ends = [attrs["heads"] * dim, (attrs["heads"] + attrs["kv_heads"]) * dim]
    q, k, v = np.split(row.x[0], ends)
    if weights:
        q, k = (
            head_rms(part, w, attrs["norm_eps"]) for part, w in zip((q, k), weights, strict=True)
        )
    places = places_of(case, row)
    q, k = (rotate(part, places, dim, attrs["inv_freq"], attrs["rope_scale"]) for part in (q, k))
    return [q, k, v]


def places_of(case: Case, row: Fed) -> list[float]:
    """The position that each frequency turns a row by."""
    axes = case.attrs["axes"]
    return [row.given[axis] for axis in axes] or [row.position] * len(case.attrs["inv_freq"])


def rotate(
    x: Vector, places: Sequence[float], head_dim: int, inv_freq: Sequence[float], scale: float
) -> Vector:
    """Rotary positions on one flat row, pair by pair."""
    out = x.copy()
    n = len(inv_freq)
    for start in range(0, len(x), head_dim):
        for i, frequency in enumerate(inv_freq):
            # The angle is rounded to f32 as everywhere: at high positions that is visible.
            angle = float(np.float32(places[i]) * np.float32(frequency))
            cos, sin = scale * np.cos(angle), scale * np.sin(angle)
            a, b = x[start + i], x[start + i + n]
            out[start + i] = a * cos - b * sin
            out[start + i + n] = b * cos + a * sin
    return out


def gelu(x: Vector) -> Vector:
    """The Gaussian error linear unit, approximated with tanh."""
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def rms(x: Vector, weight: Vector, eps: float) -> Vector:
    """x / sqrt(mean(x^2) + eps) * w."""
    return x / np.sqrt(np.mean(x * x) + eps) * weight


def head_rms(x: Vector, weight: Vector, eps: float) -> Vector:
    """``rms`` of every len(weight) neighbouring columns."""
    parts = x.reshape(-1, len(weight))
    return np.concatenate([rms(part, weight, eps) for part in parts])


def quantise(x: Vector, size: int, activations: str) -> tuple[Vector, Vector]:
    """Integers and scales of a row, group by group of that size, in f32 steps as defined."""
    return quantise_8(x, size) if activations == "int8" else quantise_12(x, size)


def quantise_8(x: Vector, size: int) -> tuple[Vector, Vector]:
    """-127..127 times a scale."""
    codes: list[int] = []
    scales: list[float] = []
    for group in x.astype(np.float32).reshape(-1, size):
        scale = np.float32(np.abs(group).max() / np.float32(127))
        inverse = np.float32(1) / scale if scale > 1e-37 else np.float32(0)
        scales.append(float(scale))
        codes += [int(np.rint(value * inverse)) for value in group]
    return np.array(codes, float), np.array(scales)


def quantise_12(x: Vector, size: int) -> tuple[Vector, Vector]:
    """Multiples of 16 of a scale in the last four of each eight columns, near them in the first."""
    codes: list[int] = []
    scales: list[float] = []
    for group in x.astype(np.float32).reshape(-1, size):
        scale = np.float32(np.abs(group).max() / np.float32(16 * 1904))
        inverse = np.float32(1 / 16) / scale if scale > 1e-37 else np.float32(0)
        scales.append(float(scale))
        for eight in group.reshape(-1, 8):
            last = [int(np.rint(value * inverse)) for value in eight[4:]]
            for value, other in zip(eight[:4], last, strict=True):
                bits = other & 15
                step = int(np.rint(value * inverse - np.float32(bits / 16)))
                # The shared level would be -128 there, which is left out.
                step += step % 16 == 8 and bits == 0
                codes.append(16 * step + bits)
            codes += [16 * value for value in last]
    return np.array(codes, float), np.array(scales)
