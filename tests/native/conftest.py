"""The tiny checkpoints, packed once per run and type."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from tests.models import golden
from tests.native import programs

Packed = Callable[[str, str], programs.Store]


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
