"""A folder of Parquet files as output: each is there whole or not at all, no row is in two."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cactus.batch import parts, run
from cactus.errors import InvalidRequest

from .conftest import by_index

JOB = {"job": "chat", "prompt": "{text}", "options": {"max_tokens": 4}}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART", 16)


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """The rows of the whole folder, as whatever reads one does."""
    rows: list[dict[str, Any]] = pq.read_table(folder).to_pylist()
    return sorted(rows, key=lambda row: row["index"])


def parts_of(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if not file.name.startswith("_b"))


@pytest.fixture
def whole(tiny_model: Path, questions: Path, tmp_path: Path) -> list[dict[str, Any]]:
    run(JOB, questions, tmp_path / "whole.jsonl", model=tiny_model, threads=1)
    return by_index(tmp_path / "whole.jsonl")


def test_parts_are_the_rows_of_json_lines(
    whole: list[dict[str, Any]], tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out.parquet"
    report = run(JOB, questions, f"{folder}/", model=tiny_model, threads=1)
    assert (report.rows, report.errors) == (40, 0)
    assert rows_in(folder) == whole
    assert parts_of(folder) == [f"part-{number:05}.parquet" for number in range(3)]
    again = run(JOB, questions, folder, model=tiny_model, threads=1)
    assert (again.rows, again.before) == (40, 40) and rows_in(folder) == whole


class Ended(BaseException):
    """The end of a process, for a test."""


def ended_at(number: int, name: str) -> Any:
    """Something of `os` that ends the job when it is called for the `number`th time."""
    usual: Callable[..., Any] = getattr(os, name)
    count = 0

    def act(*arguments: Any) -> Any:
        nonlocal count
        count += str(arguments[0]).rpartition("/")[2].startswith("_part")
        if count == number:
            raise Ended
        return usual(*arguments)

    return patch.object(parts.os, name, act)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_end_before_a_file_is_there_loses_nothing(
    number: int,
    whole: list[dict[str, Any]],
    tiny_model: Path,
    questions: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "out.parquet"
    with ended_at(number, "replace"), pytest.raises(Ended):
        run(JOB, questions, f"{folder}/", model=tiny_model, threads=1)
    assert len(list(folder.glob("part-*"))) == number - 1
    report = run(JOB, questions, folder, model=tiny_model, threads=1)
    assert report.before == min(16 * number, 40) and rows_in(folder) == whole
    assert len(parts_of(folder)) == 3


def test_an_end_before_the_journal_is_gone_doubles_nothing(
    whole: list[dict[str, Any]], tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out.parquet"
    usual = Path.unlink

    def act(path: Path, missing_ok: bool = False) -> None:
        if path.name == "_part-00001.jsonl":
            raise Ended
        usual(path, missing_ok)

    with patch.object(Path, "unlink", act), pytest.raises(Ended):
        run(JOB, questions, f"{folder}/", model=tiny_model, threads=1)
    assert (folder / "_part-00001.jsonl").exists() and (folder / "part-00001.parquet").exists()
    report = run(JOB, questions, folder, model=tiny_model, threads=1)
    assert report.before == 32 and rows_in(folder) == whole


def test_types_are_those_of_all_rows_and_of_the_schema(tiny_model: Path, tmp_path: Path) -> None:
    source, folder = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    rows = [{"text": "a", "n": n, "x": n if n < 20 else n / 2, "m": n or "none"} for n in range(40)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    schema = {"properties": {"yes": {"type": "boolean"}, "many": {"type": ["string", "null"]}}}
    job = {**JOB, "prompt": "{text}", "schema": {"type": "object", **schema}}
    run(job, source, f"{folder}/", model=tiny_model, threads=1)
    for part in folder.glob("*.parquet"):
        assert pq.read_schema(part) == pa.schema(
            {
                "index": pa.int64(),
                "text": pa.string(),
                "n": pa.int64(),
                "x": pa.float64(),
                "m": pa.string(),
                "yes": pa.bool_(),
                "many": pa.string(),
                "error": pa.string(),
            }
        )
    found = rows_in(folder)
    assert [row["x"] for row in found] == [row["x"] for row in rows]
    assert [row["m"] for row in found][:2] == ["none", "1"]


def test_numbers_that_do_not_fit_are_errors_of_their_rows(tmp_path: Path) -> None:
    schema = pa.schema(
        [("index", pa.int64()), ("n", pa.int64()), ("x", pa.float64()), ("error", pa.string())]
    )
    values = [(1, 2), (10**40, 2.5), (3, 10**400), (None, None)]
    written = parts.Parts(tmp_path, schema, 4, lambda row: (row["index"], row["error"] is not None))
    for index, (n, x) in enumerate(values):
        line = json.dumps({"index": index, "n": n, "x": x, "error": None}).encode() + b"\n"
        written.write([(index, False, line)])
    written.finish()
    wrong = "has numbers of 64 bits, got one of {} digits"
    assert written.errors == 2
    assert [list(row.values()) for row in rows_in(tmp_path)] == [
        [0, 1, 2.0, None],
        [1, None, 2.5, f"column 'n' {wrong.format(41)}"],
        [2, 3, None, f"column 'x' {wrong.format(401)}"],
        [3, None, None, None],
    ]


def test_columns_of_parquet_stay_what_json_has_of_them(tiny_model: Path, tmp_path: Path) -> None:
    source, folder = tmp_path / "in.parquet", tmp_path / "out.parquet"
    table = pa.table(
        {
            "text": ["a", "b"],
            "small": pa.array([1, None], pa.int8()),
            "half": pa.array([0.5, 2], pa.float32()),
            "day": pa.array([0, 1], pa.date32()),
            "list": [[1], [2, 3]],
        }
    )
    pq.write_table(table, source)
    run(
        JOB,
        source,
        f"{folder}/",
        model=tiny_model,
        threads=1,
        keep=["small", "half", "day", "list"],
    )
    found = pq.read_table(folder).drop(["index", "answer", "finish_reason", "error"])
    assert found.schema == pa.schema(
        [
            ("small", pa.int64()),
            ("half", pa.float64()),
            ("day", pa.string()),
            ("list", pa.string()),
        ]
    )
    assert found.to_pylist() == [
        {"small": 1, "half": 0.5, "day": "1970-01-01", "list": "[1]"},
        {"small": None, "half": 2.0, "day": "1970-01-02", "list": "[2, 3]"},
    ]


def lines_of(*indices: int) -> list[bytes]:
    return [json.dumps({"index": n, "n": n, "error": None}).encode() for n in indices]


def opened(folder: Path, total: int) -> parts.Parts:
    schema = pa.schema([("index", pa.int64()), ("n", pa.int64()), ("error", pa.string())])
    return parts.Parts(folder, schema, total, lambda row: (row["index"], row["error"] is not None))


def test_files_of_other_machines_are_there_when_they_are_adopted(tmp_path: Path) -> None:
    written = opened(tmp_path, 40)
    for index in range(3):
        written.write([(index, False, lines_of(index)[0] + b"\n")])
    written.adopt(written.writer.write("_block-a.parquet", lines_of(5, 4, 3)))
    written.writer.write("_block-b.parquet", lines_of(6, 7))  # and its driver ends
    written.close()
    assert [row["index"] for row in rows_in(tmp_path)] == [3, 4, 5]
    written = opened(tmp_path, 40)
    assert bytes(written.done[:9]) == b"\1\1\1\1\1\1\0\0\0" and written.rows == 6
    assert not (tmp_path / "_block-b.parquet").exists()
    written.adopt(written.writer.write("_block-c.parquet", lines_of(*range(6, 40))))
    written.finish()
    assert [row["index"] for row in rows_in(tmp_path)] == list(range(40))
    names = ["block-a.parquet", "block-c.parquet", "part-00000.parquet"]
    assert sorted(file.name for file in tmp_path.iterdir()) == names


def test_a_file_that_is_elsewhere_is_an_error_of_the_output(tmp_path: Path) -> None:
    written = opened(tmp_path, 4)
    part = written.writer.write("_block-a.parquet", lines_of(0))
    (tmp_path / "_block-a.parquet").unlink()
    with pytest.raises(InvalidRequest, match="has to be the same one on all nodes"):
        written.adopt(part)
    written.close()


def test_something_else_in_the_folder_is_refused(
    tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out.parquet"
    folder.mkdir()
    (folder / "mine.txt").write_text("x")
    with pytest.raises(InvalidRequest, match=r"is there already; --restart begins anew"):
        run(JOB, questions, folder, model=tiny_model, threads=1)
    run(JOB, questions, folder, model=tiny_model, threads=1, restart=True)
    assert (folder / "mine.txt").read_text() == "x"
    part = folder / "part-00001.parquet"
    whole = part.read_bytes()
    for damaged in (whole[:-9], whole.replace(b"\x05error", b"\x05er\xedor")):
        assert damaged != whole
        part.write_bytes(damaged)
        with pytest.raises(InvalidRequest, match=r"part-00001.parquet is damaged, or not of this"):
            run(JOB, questions, folder, model=tiny_model, threads=1)


@pytest.mark.parametrize("index", ["0", None, 2.5, -1, 40])
def test_a_part_with_an_index_that_is_none_is_refused(
    index: Any, tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out.parquet"
    run(JOB, questions, f"{folder}/", model=tiny_model, threads=1)
    part = folder / "part-00002.parquet"
    rows = pq.read_table(part).to_pylist()
    pq.write_table(pa.Table.from_pylist([{**rows[0], "index": index}]), part)
    with pytest.raises(InvalidRequest, match=rf"part-00002.parquet: row '?{index}'? is there"):
        run(JOB, questions, folder, model=tiny_model, threads=1)
