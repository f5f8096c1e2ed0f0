"""CSV and Parquet, as they are read and as they are written."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.batch import rows, run
from cactus.batch.inputs import open_input
from cactus.errors import InvalidRequest
from cactus.inputs import lines
from tests.embed.conftest import write_embedder

from .conftest import by_index

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROOT = Path(__file__).resolve().parents[2]
JOB = {"job": "chat", "prompt": "{text}", "options": {"max_tokens": 4}}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.fixture
def answers(tiny_model: Path, tmp_path: Path) -> Any:
    """Writes the answers to a file of rows as JSON lines, to compare with."""

    def make(source: Path) -> list[dict[str, Any]]:
        run(JOB, source, tmp_path / "expected.jsonl", model=tiny_model, threads=1, restart=True)
        return by_index(tmp_path / "expected.jsonl")

    return make


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_csv_to_csv(ending: str, answers: Any, tiny_model: Path, tmp_path: Path) -> None:
    source, output = tmp_path / f"in.{ending}", tmp_path / f"out.{ending}"
    rows = [["1", 'He said "no",\nand left\t.'], ["2", "é ☃"], ["", ""]]
    with source.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter="\t" if ending == "tsv" else ",")
        writer.writerows([["id", "text"], *rows])
        file.write("too few\r\n" if ending == "csv" else "a\tb\tc\r\n")
    report = run(JOB, source, output, model=tiny_model, threads=1)
    found = table(output)
    assert (report.rows, report.errors) == (4, 1)
    assert [[row["id"], row["text"]] for row in found[:3]] == rows
    assert list(found[0]) == ["index", "id", "text", "answer", "finish_reason", "error"]
    assert [row["answer"] for row in found[:3]] == [row["answer"] for row in answers(source)[:3]]
    had = 1 if ending == "csv" else 3
    assert found[3]["error"] == f"in.{ending}, line 6: has {had} columns, expected 2"
    assert sorted(path.name for path in tmp_path.glob("out*")) == [
        f"out.{ending}",
        f"out.{ending}.batch.json",
    ]
    again = run(JOB, source, output, model=tiny_model, threads=1)
    assert (again.before, again.rows, again.errors) == (4, 4, 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; expected a row of columns' names"),
        (b"a,a\n", "two columns have the name 'a'"),
        (b'a,b\n"x"y,1\n', "line 2: not CSV"),
        (b"\xff\n", "the first row is not UTF-8"),
    ],
)
def test_what_is_no_table_is_refused(
    content: bytes, said: str, tiny_model: Path, tmp_path: Path
) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(content)
    with pytest.raises(InvalidRequest, match=said):
        run(JOB, source, tmp_path / "out.csv", model=tiny_model, threads=1)


def test_bytes_that_are_no_text_are_the_error_of_their_row(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(b"a\nx\n\xff\n\ny\n")
    rows = list(open_input(source).rows())
    assert [row.values.get("a") for row in rows] == ["x", None, "y"]
    assert rows[1].wrong == "is not UTF-8" and [row.index for row in rows] == [0, 1, 2]


def test_a_line_that_is_too_long_hides_none_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "LONGEST", 20)
    monkeypatch.setattr(rows, "LONGEST", 20)
    for ending in ("jsonl", "txt"):
        source = tmp_path / f"in.{ending}"
        source.write_text('{"a": 1}\n{"a": "' + "long " * 20 + '"}\n{"a": 2}\n')
        found = list(open_input(source).rows())
        assert [row.index for row in found] == [0, 1, 2] and open_input(source).count() == 3
        assert [row.wrong for row in found] == [None, "is longer than 0 MB", None]
    source = tmp_path / "in.csv"
    source.write_text("a,b\n" + "x" * 50 + ",y\n")
    with pytest.raises(InvalidRequest, match=r"in\.csv: a line is longer than 0 MB"):
        list(open_input(source).rows())


def test_json_lines_to_parquet(answers: Any, tiny_model: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    rows: list[dict[str, Any]] = [
        {"text": "a", "n": 1, "x": 1, "yes": True, "mixed": 1, "nested": {"a": [1]}, "v": [0.1]},
        {"text": "b", "n": 2**40, "x": 0.5, "yes": None, "mixed": "é"},
        {"n": -1, "late": "z", "v": [1.0, 2.0]},
    ]
    source.write_text("\n".join(map(json.dumps, rows)))
    report = run(JOB, source, output, model=tiny_model, threads=1)
    assert (report.rows, report.errors) == (3, 1)
    found = pq.read_table(output)
    assert {field.name: str(field.type) for field in found.schema} == {
        "index": "int64",
        "text": "string",
        "n": "int64",
        "x": "double",
        "yes": "bool",
        "mixed": "string",
        "nested": "string",
        "v": "list<element: double>",
        "late": "string",
        "answer": "string",
        "finish_reason": "string",
        "error": "string",
    }
    expected = answers(source)
    for row, given, one in zip(found.to_pylist(), rows, expected, strict=True):
        assert (row["answer"], row["error"]) == (one["answer"], one["error"])
        assert all(row[name] == given.get(name) for name in ("n", "x", "yes", "v", "late"))
    assert found["mixed"].to_pylist() == ["1", "é", None]
    assert found["nested"].to_pylist() == ['{"a": [1]}', None, None]


def test_columns_of_parquet_stay_what_they_are(
    answers: Any, tiny_model: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "in.parquet", tmp_path / "out.parquet"
    given = pa.table(
        {
            "text": ["a", "b", None],
            "when": pa.array([1, 2**40 + 1, None], pa.timestamp("ns", "UTC")),
            "price": pa.array([Decimal("1.10"), None, Decimal("2.25")], pa.decimal128(9, 2)),
            "data": [b"\x00\xff", b"", None],
            "day": [date(2026, 1, 2), None, None],
            "nan": [float("nan"), float("inf"), 1.5],
            "deep": [{"a": [datetime(2026, 1, 2)]}, None, None],
            "took": pa.array([5, None, 7], pa.duration("us")),
        }
    )
    pq.write_table(given, source)
    report = run(JOB, source, output, model=tiny_model, threads=1)
    assert (report.rows, report.errors) == (3, 1)
    found = pq.read_table(output)
    assert found.select(given.column_names).schema.equals(given.schema)
    for name in given.column_names:
        if name == "nan":
            assert np.array_equal(found[name], given[name], equal_nan=True)
        else:
            assert found[name].equals(given[name])
    expected = answers(source)
    assert found["answer"].to_pylist() == [row["answer"] for row in expected]
    assert {name: expected[0][name] for name in given.column_names} == {
        "text": "a",
        "when": "1970-01-01 00:00:00.000000001Z",
        "price": "1.10",
        "data": "AP8=",
        "day": "2026-01-02",
        "nan": None,
        "deep": {"a": ["2026-01-02T00:00:00"]},
        "took": 5,
    }


def test_vectors_in_parquet(tiny_model: Path, questions: Path, tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "embedder", tiny_model)
    lines, output = tmp_path / "out.jsonl", tmp_path / "out.parquet"
    run("embed", questions, lines, model=folder, threads=1)
    run("embed", questions, output, model=folder, threads=1, keep=["id"])
    found = pq.read_table(output)
    assert str(found.schema.field("embedding").type) == "list<element: float>"
    expected = np.array([row["embedding"] for row in by_index(lines)], np.float32)
    assert np.array_equal(np.array(found["embedding"].to_pylist(), np.float32), expected)
    assert found.column_names == ["index", "id", "embedding", "error"]


def test_a_file_that_is_not_parquet_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    source.write_bytes(b"PAR1 not really")
    with pytest.raises(InvalidRequest, match=r"in\.parquet' is not a Parquet file"):
        run(JOB, source, tmp_path / "out.csv", model=tiny_model, threads=1)


@pytest.mark.parametrize(
    ("place", "instead", "says"),
    [
        (b"\x15\x04\x15\x00\x15\x06", b"\x15\x02\x15\x00\x15\x06", "1 rows can be read"),
        (b"\x16\x04\x19\x1c", b"\x16\x01\x19\x1c", "its footer says -1 rows"),
        (b"\x16\x04\x19\x1c", b"\x16\x06\x19\x1c", "its footer says 3 rows"),
        (b"\x18\x04text%", b"\x18\x04te\xedt%", "is not a Parquet file"),
        (b"\x15\x04\x15\x00\x15\x06", b"\xff\xff\xff\xff\xff\xff", "in.parquet is damaged"),
    ],
)
def test_a_damaged_parquet_file_is_refused(
    place: bytes, instead: bytes, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "in.parquet"
    plain = {"store_schema": False, "compression": "none", "use_dictionary": False}
    pq.write_table(pa.table({"text": ["a", "b"]}), path, **plain)
    data = path.read_bytes()
    assert data.count(place) == 1
    path.write_bytes(data.replace(place, instead))
    with pytest.raises(InvalidRequest, match=says) as found:
        list(open_input(path).rows())
    assert "\n" not in str(found.value)


def test_a_column_that_cannot_be_told_is_named(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    nowhere = pa.array([1], pa.timestamp("us", "No/Where"))
    pq.write_table(pa.table({"when": nowhere}), path)
    with pytest.raises(InvalidRequest, match=r"in.parquet: column 'when' of timestamp\[us, tz=No/"):
        list(open_input(path).rows())
    days = pa.array([[None], [2**30]], pa.list_(pa.date32()))
    pq.write_table(pa.table({"days": days}), path)
    with pytest.raises(InvalidRequest, match=r"in.parquet: column 'days' of list<.*date32"):
        list(open_input(path).rows())


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_killed_job_makes_the_same_table(ending: str, tiny_model: Path) -> None:
    command = [sys.executable, str(ROOT / "tools" / "kill_batch.py"), str(tiny_model)]
    options = ["--rows", "200", "--max-tokens", "4", "--threads", "1", "--points", "4"]
    options += ["--workers", "1"]
    done = subprocess.run(
        [*command, *options, "--output", f"out.{ending}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("the output is the same\n")


def test_rows_that_are_not_wanted_change_no_others(tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(9)]
    (tmp_path / "in.jsonl").write_text("\n\n".join(["no", *(f'{{"text": "{t}"}}' for t in texts)]))
    (tmp_path / "in.csv").write_text("\n".join(["a,b", *(f"{t},1" for t in texts), "one"]))
    (tmp_path / "in.txt").write_text("\n".join(texts))
    pa.parquet.write_table(pa.table({"text": texts}), tmp_path / "in.parquet", row_group_size=4)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in texts:
        (folder / f"{name}.txt").write_text(name)
    for name in ("in.jsonl", "in.csv", "in.txt", "in.parquet", "folder"):
        given = open_input(tmp_path / name)
        whole = list(given.rows())
        assert len(whole) >= 9 and [row.index for row in whole] == list(range(len(whole)))
        for few in ({0, 3, 8}, {2}, set[int](), {5, 6, 7}):
            assert list(given.rows(few.__contains__)) == [whole[index] for index in sorted(few)]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_no_input_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    for name in ("in.jsonl", "in.csv", "in.txt"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(InvalidRequest, match=r"input: .* is a pipe or a device, expected a"):
            open_input(tmp_path / name)
    folder = tmp_path / "folder"
    folder.mkdir()
    os.mkfifo(folder / "a.txt")
    [row] = open_input(folder).rows()
    assert row.wrong is not None and "a pipe or a device" in row.wrong
