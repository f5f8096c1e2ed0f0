"""How far numbers may lie from their reference: one row per arithmetic, never loosened in a test.

The measure is the normalised mean squared error, sum((got - want)^2) / sum(want^2), over a whole
value: it does not depend on the size of the numbers, and one lost column shows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

NMSE = {
    # Two f32 programs that sum in different orders. One rounding is 2^-24, squared 3.6e-15; the
    # random checkpoints, whose layers amplify every difference, turn that into 5e-12.
    "f32": 1e-10,
    # One side splits activations and 16-bit weights into two bf16, as the amx tier does: 2^-17 of
    # each product, squared, is 6e-11, and a few times that where products cancel; the layers of a
    # model amplify every difference, as above by 1,400.
    "split": 1e-6,
    # One side multiplies numbers rounded to bf16: each of both lies at most 2^-9 aside, which
    # squared and over 3 is 2.6e-6 of each product, and ten times that where products cancel.
    "bf16": 5e-5,
    # The same in a model, whose layers amplify every difference, as above by 1,400.
    "bf16 model": 5e-3,
    # One side rounds keys and values, or weights, to f16: 2^-11 squared is 2.4e-7.
    "f16": 1e-5,
    # One side rounds factors to bf16: 2^-9 squared, over 3, is 1.3e-6, and two or three of them
    # are rounded. A score of attention is then wrong by 2^-9 of its size, which is up to 200 in the
    # cases of single ops: where two positions compete, their weights are mixed wrongly, and 3e-4
    # of the worst case is that.
    "bf16 scores": 5e-4,
    # One side reads a cache of int8 in integers: queries and weights of attention have steps of
    # 1/32,639 of their largest, and scores are up to 200 in the cases of single ops, where two
    # positions compete by less than what a step of the query makes of such a score. A number of a
    # key that lies between two codes may get either.
    "int8 cache": 1e-6,
    # One side works with 12-bit activations: 2^-11 of the largest of each 32, squared, over 12, is
    # 2e-8; the layers of a model amplify every difference, and turn that into 4e-5.
    "q12": 1e-4,
    # One side attends to a text in bytes: 1/254 of the largest of a query, key or value, and of a
    # span's weights, and products have activations of 8 bits.
    "bytes": 5e-3,
    # One side works with 8-bit activations: half a step of 1/127 of the largest of each 32, squared
    # and over 3, is 5e-6; against numbers that are mostly smaller than the largest, 5e-5.
    "q8": 2e-4,
}


def nmse(got: ArrayLike, want: ArrayLike) -> float:
    """Normalised mean squared error; infinity where ``got`` is not finite or has another shape."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if got.shape != want.shape or not np.isfinite(got).all():
        return float("inf")
    scale = float(np.sum(np.square(want)))
    error = float(np.sum(np.square(got - want)))
    return error / scale if scale else error


def assert_close(got: ArrayLike, want: ArrayLike, kind: str, what: str = "value") -> None:
    """Fail, naming ``what``, if ``got`` is further from ``want`` than ``NMSE[kind]``."""
    error = nmse(got, want)
    shapes = f"{np.shape(got)} against {np.shape(want)}"
    assert error <= NMSE[kind], (
        f"{what}: error {error:.2e}, {kind} allows {NMSE[kind]:.0e} ({shapes})"
    )
