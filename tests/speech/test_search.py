"""The largest of many logits, against sorting them all."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cactus.speech.search import GROUP, largest


@given(st.integers(1, 5 * GROUP), st.integers(1, 20), st.integers(2, 1000), st.integers(0, 99))
def test_the_largest_logits(size: int, count: int, levels: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    row = random.integers(0, levels, size).astype(np.float32)  # with few levels there are ties
    row[random.random(size) < 0.2] = -np.inf
    want = sorted(range(size), key=lambda id: (-row[id], id))[:count]
    assert largest(row, count) == want
