"""Models with an embedding.json: the tiny chat model's files, and what a test says of vectors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import count
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
    target: Path,
    model: Path,
    heads: dict[str, np.ndarray] | None = None,
    *,
    use: str | None = None,
    **settings: Any,
) -> Path:
    """`model` once more, with an embedding.json and tensors behind the pooling; for `use` alone."""
    target.mkdir(parents=True)
    for file in model.iterdir():
        if file.suffix != ".bin":
            (target / file.name).symlink_to(file)
    (target / "embedding.json").write_text(json.dumps({**BASE, **settings}))
    if heads:
        write_safetensors(target / "heads.safetensors", heads)
    if use is not None:
        config = json.loads((model / "config.json").read_text())
        config["cactus"]["use"] = use
        (target / "config.json").unlink()
        (target / "config.json").write_text(json.dumps(config))
    return target


@pytest.fixture
def embedder(tiny_model: Path, tmp_path: Path, closed_later: Callable[[Model], Model]) -> Make:
    """Makes tiny models with settings and heads."""
    numbers = count()

    def make(heads: dict[str, np.ndarray] | None = None, **settings: Any) -> Model:
        folder = write_embedder(tmp_path / f"model-{next(numbers)}", tiny_model, heads, **settings)
        return closed_later(Model(folder, threads=1))

    return make


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Iterator[Model]:
    with Model(tiny_model, threads=2) as model:
        yield model
