"""What the benchmark of indexing makes sure of, before it measures anything."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.retrieval.index import Index


@pytest.fixture
def cache(load: Any, tmp_path: Path) -> Path:
    """A cache folder with the index of two files, made with pseudo vectors."""
    folder = tmp_path / "documents"
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text(f"This is {name}, and there is not much more in it.\n")
    with Index.open(folder, load("indexing_child").Pseudo(), tmp_path / "cache") as index:
        assert index.sync().chunks == 2
    return tmp_path / "cache"


def test_pseudo_vectors_are_units_and_depend_on_the_text(load: Any) -> None:
    one, same, other = load("indexing_child").Pseudo().embed(["a", "a", "b"], "document")
    assert np.allclose(np.linalg.norm([one, other], axis=1), 1)
    assert (one == same).all() and abs(float(one @ other)) < 0.5


def test_a_chunk_without_a_vector_is_a_fault(load: Any, cache: Path) -> None:
    indexing = load("indexing")
    assert indexing._state(cache) == (2, "")
    with closing(sqlite3.connect(indexing._file(cache))) as db, db:
        db.execute("DELETE FROM vectors WHERE chunk = (SELECT max(chunk) FROM vectors)")
    assert indexing._state(cache) == (2, "chunks without a vector")


def test_killed_before_there_is_an_index_is_no_fault(load: Any, tmp_path: Path) -> None:
    assert load("indexing")._state(tmp_path / "none") == (0, "")
