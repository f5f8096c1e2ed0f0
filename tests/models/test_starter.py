"""The starter model (fetched once) in the NumPy interpreter, against transformers in f32."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.models import starter

# The interpreter is slow: it takes a part of what the native core is compared with in whole
# (tests/native/test_starter.py).
PROMPTS, LENGTH = 5, 600


def test_starter_greedy_tokens(starter_folder: Path) -> None:
    entries = starter.continuations()[:PROMPTS]
    chosen = starter.continue_all(starter.reference(starter_folder), entries)
    want = [entry["tokens"] for entry in entries]
    assert len(want) == PROMPTS and all(len(tokens) == 32 for tokens in want)
    assert chosen == want


def test_starter_log_probabilities_of_a_text(starter_folder: Path) -> None:
    got = starter.read_text(starter.reference(starter_folder), LENGTH)
    want = starter.text(LENGTH)
    assert len(want.argmax) == LENGTH
    np.testing.assert_allclose(got.logprobs, want.logprobs, atol=1e-3)
    assert abs(got.perplexity / want.perplexity - 1) < 1e-5
    assert (got.argmax == want.argmax).mean() > 0.999
