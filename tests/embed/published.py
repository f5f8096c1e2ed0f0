"""Texts in many languages, and what others make of them: tests/golden/embeddings.

Made by tools/make_golden_embeddings.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parent.parent / "golden" / "embeddings"


class Published(NamedTuple):
    """`tokens` of each of the `texts`; vectors of MiniLM of all, of nomic of `nomic_texts`."""

    texts: list[str]
    tokens: list[list[int]]
    minilm: NDArray[np.float64]
    nomic_texts: list[int]
    nomic: NDArray[np.float64]


def load() -> Published:
    """The files."""
    texts = json.loads((FOLDER / "texts.json").read_text("utf-8"))
    with np.load(FOLDER / "golden.npz") as arrays:
        parts = np.split(arrays["tokens"], np.cumsum(arrays["counts"])[:-1])
        return Published(
            texts,
            [part.tolist() for part in parts],
            arrays["minilm"].astype(np.float64),
            arrays["nomic_texts"].tolist(),
            arrays["nomic"].astype(np.float64),
        )


def cosines(got: NDArray[np.float32], want: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row with its own."""
    wide = got.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(want, axis=1)
    return np.sum(wide * want, axis=1) / lengths
