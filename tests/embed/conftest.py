"""Models with an embedding.json: the tiny chat model's files, and what a test says of vectors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus import Model
from cactus.weights.format.safetensors import write_safetensors

Make = Callable[..., Model]

BASE = {"version": 1, "pooling": "mean", "normalize": False, "dimensions": 64, "max_tokens": 40}
"""What an embedding.json must have; the tiny model has 64 numbers in a state."""


def write_embedder(
    target: Path, model: Path, heads: dict[str, np.ndarray] | None = None, **settings: Any
) -> Path:
    """`model` once more, with an embedding.json and tensors behind the pooling."""
    target.mkdir(parents=True)
    for file in model.iterdir():
        if file.suffix != ".bin":
            (target / file.name).symlink_to(file)
    (target / "embedding.json").write_text(json.dumps({**BASE, **settings}))
    if heads:
        write_safetensors(target / "heads.safetensors", heads)
    return target


@pytest.fixture
def embedder(tiny_model: Path, tmp_path: Path) -> Iterator[Make]:
    """Makes tiny models with settings and heads; they are closed when the test is over."""
    made: list[Model] = []

    def make(heads: dict[str, np.ndarray] | None = None, **settings: Any) -> Model:
        folder = write_embedder(tmp_path / f"model-{len(made)}", tiny_model, heads, **settings)
        made.append(Model(folder, threads=1))
        return made[-1]

    yield make
    for model in made:
        model.close()


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Iterator[Model]:
    with Model(tiny_model, threads=2) as model:
        yield model
