"""The tiny checkpoints, packed once per run and type, and what the reference makes of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cactus.graph.reference import ReferenceProgram
from tests.models import golden
from tests.native import programs

Packed = Callable[[str, str], programs.Store]
Expected = Callable[[str, str, str], np.ndarray]


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """``packed(name, dtype)``: a checkpoint's weights in one type."""
    folder = tmp_path_factory.mktemp("packed")

    @cache
    def make(name: str, dtype: str) -> programs.Store:
        checkpoint = golden.load(name)
        path = folder / f"{name}.{dtype}"
        return programs.store(checkpoint.graph, checkpoint.tensors, path, dtype)

    return make


@pytest.fixture(scope="session")
def expected(packed: Packed) -> Expected:
    """``expected(name, dtype, activations)``: the logits of the fused graph in the reference."""

    @cache
    def make(name: str, dtype: str, activations: str) -> np.ndarray:
        checkpoint = golden.load(name)
        graph, values = programs.fused(checkpoint.graph, dtype), packed(name, dtype).values
        options = {"kv_dtype": "f16", "activations": activations}
        return golden.run_all(ReferenceProgram(graph, values, **options), checkpoint.tokens)

    return make


@pytest.fixture(scope="session")
def ops_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the weights of cases are stored, for all that compare the same ones."""
    return tmp_path_factory.mktemp("ops")
