"""Blocks of rows in a process of their own, and engines for pipelines of others."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cactus.batch import run
from cactus.batch.blocks import Blocks
from cactus.batch.job import Job
from cactus.batch.ray import Engine
from cactus.batch.rows import Row
from cactus.batch.task import Task
from cactus.errors import CactusError, InvalidRequest

from .conftest import rows_of
from .deadly import Deadly

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are killed by a signal")

CHAT = Job("chat", {"prompt": "{text}"}, {"max_tokens": 4})


def rows(*values: dict[str, Any]) -> list[Row]:
    return [Row(n, f"in, line {n + 1}", {"text": f"t{n}", **v}) for n, v in enumerate(values)]


def done(blocks: Blocks, given: list[Row]) -> list[dict[str, Any]]:
    """The lines of rows in their order, each of which is there once."""
    lines = sorted(blocks.lines(given))
    assert [line[0] for line in lines] == [row.index for row in given]
    return [json.loads(line[2]) for line in lines]


def test_a_row_that_kills_its_process_becomes_an_error_alone(tiny_model: Path) -> None:
    blocks = Blocks(Deadly(CHAT, Path(), tiny_model, {"threads": 1}), Path())
    try:
        whole = done(blocks, rows(*[{}] * 9))
        found = done(blocks, rows(*[{"deadly": n in (3, 8)} for n in range(9)]))
    finally:
        blocks.close()
    for index, (row, there) in enumerate(zip(found, whole, strict=True)):
        if index in (3, 8):
            assert row["error"] == (
                f"in, line {index + 1}: the process that did this row ended with status -9, 2 times"
            )
            assert row["answer"] is None
        else:
            assert (row["answer"], row["error"]) == (there["answer"], None)


def test_a_row_is_done_again_where_the_process_ended_once(tiny_model: Path, tmp_path: Path) -> None:
    blocks = Blocks(Deadly(CHAT, Path(), tiny_model, {"threads": 1}), Path())
    try:
        found = done(blocks, rows({}, {"once": str(tmp_path / "once")}, {}))
    finally:
        blocks.close()
    assert (tmp_path / "once").exists()
    assert [row["error"] for row in found] == [None] * 3


def test_a_model_that_cannot_be_loaded_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(CactusError, match="has no config"):
        Blocks(Task(CHAT, Path(), tmp_path), Path())


def test_an_engine_adds_the_columns_of_a_job(
    tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    run(CHAT, questions, tmp_path / "out.jsonl", model=tiny_model, threads=1, ordered=True)
    wanted = rows_of(tmp_path / "out.jsonl")
    given = pa.Table.from_pylist([json.loads(line) for line in questions.read_text().splitlines()])
    made = Engine(CHAT, model=tiny_model, threads=1)(given)
    assert made.column_names == ["id", "text", "answer", "finish_reason", "error"]
    assert [{"index": n, **row} for n, row in enumerate(made.to_pylist())] == wanted
    assert made.schema.field("error").type == pa.string()


def test_an_engine_says_what_is_wrong(tiny_model: Path) -> None:
    with pytest.raises(InvalidRequest, match="lines of its own"):
        Engine("openai", model=tiny_model)
    engine = Engine(CHAT, model=tiny_model, threads=1)
    with pytest.raises(InvalidRequest, match=r"batch must be a pyarrow.Table .*, got 'dict'"):
        engine({"text": ["a"]})
    with pytest.raises(InvalidRequest, match="a column 'answer' of its own"):
        engine(pa.table({"text": ["a"], "answer": ["b"]}))
    made = engine(pa.table({"other": ["a"]})).to_pylist()
    assert made[0]["error"] == "column 'text' is needed, got the columns 'other'"


@pytest.mark.parametrize("address", ["somewhere", "host:", ":6379", "host:port"])
def test_an_address_is_checked(
    address: str, tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest, match="ray must be 'auto', 'local' or host:port, got"):
        run(CHAT, questions, tmp_path / "out.jsonl", model=tiny_model, ray=address)
