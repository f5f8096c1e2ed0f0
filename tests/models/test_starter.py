"""The starter model (fetched once) in the NumPy interpreter, against transformers in f32."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.models import starter


def test_starter_greedy_tokens(starter_folder: Path) -> None:
    chosen = starter.continue_all(starter.reference(starter_folder))
    want = [entry["tokens"] for entry in starter.continuations()]
    assert len(want) == 20 and all(len(tokens) == 32 for tokens in want)
    assert chosen == want


def test_starter_log_probabilities_of_a_text(starter_folder: Path) -> None:
    got, want = starter.read_text(starter.reference(starter_folder)), starter.text()
    assert len(want.ids) >= 2000
    np.testing.assert_allclose(got.logprobs, want.logprobs, atol=1e-3)
    assert abs(got.perplexity / want.perplexity - 1) < 1e-5
    assert (got.argmax == want.argmax).mean() > 0.999
