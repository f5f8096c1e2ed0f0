"""all-MiniLM-L6-v2 against sentence-transformers, on texts in fifty languages and on odd ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cactus import Model
from cactus.errors import CactusError
from cactus.tokenizer import Tokenizer
from tests.embed import published

GOLDEN = published.load()


def test_the_tokens_are_those_of_transformers(minilm: Path) -> None:
    tokenizer = Tokenizer.load(minilm)
    for text, want in zip(GOLDEN.texts, GOLDEN.tokens, strict=True):
        assert tokenizer.encode(text, special=True) == want, text[:80]


def test_vectors_in_16_bits_are_those_of_sentence_transformers(minilm: Path) -> None:
    with Model(minilm) as model:
        assert (model.embedding_dimensions, model.embedding_max_tokens) == (384, 256)
        vectors = model.embed(GOLDEN.texts, truncate=True)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert published.cosines(vectors, GOLDEN.minilm).min() >= 0.9999


def test_vectors_in_8_bits_stay_close(minilm_int8: Path) -> None:
    with Model(minilm_int8) as model:
        vectors = model.embed(GOLDEN.texts, truncate=True)
    cosines = published.cosines(vectors, GOLDEN.minilm)
    assert 0.995 <= cosines.min() < 0.99995


def test_a_text_has_the_same_bits_in_any_company(minilm: Path) -> None:
    chosen = GOLDEN.texts[::17]
    with Model(minilm, threads=2) as model:
        together = model.embed(chosen, truncate=True)
        alone = np.stack([model.embed(text, truncate=True) for text in chosen])
    assert together.tobytes() == alone.tobytes()


def test_a_text_over_the_limit_is_refused(minilm: Path) -> None:
    with Model(minilm) as model, pytest.raises(CactusError, match="256"):
        model.embed(max(GOLDEN.texts, key=len))
