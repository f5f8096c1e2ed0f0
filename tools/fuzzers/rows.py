"""Rows of batch jobs, the lines of a job that are done, and the state of one.

JSON lines, CSV, texts and Parquet are changed as bytes and in their values, and so are the parts of
a table. Rows come as often as
they are counted, the same each time; what is wrong with one is its error or InvalidRequest.
"""

from __future__ import annotations

import io
import json
import random
import tempfile
from datetime import datetime
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cactus.batch.inputs import open_input
from cactus.batch.journal import Journal
from cactus.batch.parts import Parts
from cactus.batch.state import State
from cactus.errors import InvalidRequest
from fuzzers.base import Case, Fuzzer, change_bytes, change_json

ROWS = [{"id": "a", "prompt": "Hello", "n": 1}, {"id": "b", "prompt": "é😀", "tags": ["x", None]},
        {"custom_id": "c", "method": "POST", "url": "/v1/chat/completions",
         "body": {"messages": [{"role": "user", "content": "Hi"}]}}]  # fmt: skip
MADE_OF = {"job": {"kind": "chat", "options": {"max_tokens": 5}}, "input": {"name": "a", "rows": 3},
           "model": {"name": "m", "files": "0f"}, "options": {"keep": None}}  # fmt: skip
CSV = 'id,prompt,n\na,"Hello, you",1\nb,"two\nlines",2\n\nc,"a ""quote""",\n'


class Fuzz(Fuzzer):
    """Files of batch jobs."""

    errors = (InvalidRequest,)

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        lines = "".join(json.dumps(row) + "\n" for row in ROWS)
        done = "".join(json.dumps({"index": n, "answer": "x"}) + "\n" for n in range(3))
        state = {"format": 1, "made_of": MADE_OF, "whole": False}
        self.seeds = {
            "jsonl": lines.encode(),
            "csv": CSV.encode(),
            "tsv": CSV.replace(",", "\t").encode(),
            "txt": "one\ntwo\r\n\nthree".encode("utf-8-sig"),
            "journal": done.encode(),
            "state": json.dumps(state).encode(),
        }
        if find_spec("pyarrow") is not None:
            self.seeds |= {"parquet": _parquet(), "part": _part()}

    def make(self, rng: random.Random) -> Case:
        """A changed file."""
        kind = rng.choice(list(self.seeds))
        if kind in ("jsonl", "journal", "state") and rng.random() < 0.6:
            lines = [json.loads(line) for line in self.seeds[kind].splitlines()]
            at = rng.randrange(len(lines))
            lines[at] = change_json(rng, lines[at])
            if rng.random() < 0.2:
                lines.insert(at, lines[at])
            data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
            return Case(kind, data)
        return Case(kind, change_bytes(rng, self.seeds[kind], self.seeds["jsonl"]))

    def run(self, case: Case) -> None:
        """Read it, read a half of its rows, and count them."""
        path = self.scratch / f"file.{case.kind}"
        path.write_bytes(case.data)
        if case.kind == "state":
            state = State(path, self.scratch / "out")
            found = state.read()
            assert found is not None
            state.check(found["made_of"], found["made_of"])
            state.check(MADE_OF, found["made_of"])
        elif case.kind == "journal":
            self._journal(path)
        elif case.kind == "part":
            self._part(case.data)
        else:
            rows = list(open_input(path).rows())
            half = list(open_input(path).rows(lambda index: index % 2 == 0))
            assert half == rows[::2], "rows alone are others"
            assert [row.index for row in rows] == list(range(len(rows)))
            assert open_input(path).count() == len(rows), "another number of rows is counted"
            json.dumps(open_input(path).known_by())

    def _journal(self, path: Path) -> None:
        def entry(row: object) -> tuple[int, bool] | None:
            index = row.get("index") if isinstance(row, dict) else None
            good = isinstance(index, int) and not isinstance(index, bool)
            return (index, "error" in row) if good else None  # type: ignore[operator,return-value]

        journal = Journal(path, 5, entry)
        before = (bytes(journal.done), journal.rows, journal.errors)
        assert sum(journal.done) == journal.rows == path.read_bytes().count(b"\n")
        free = journal.done.find(0)
        if free >= 0:
            journal.write([(free, False, json.dumps({"index": free}).encode() + b"\n")])
        journal.close()
        again = Journal(path, 5, entry)
        again.close()
        assert again.rows == before[1] + (free >= 0), "what was written is not there again"

    def _part(self, data: bytes) -> None:
        """Go on behind a file of a job's rows that are done."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            (Path(folder) / "part-00000.parquet").write_bytes(data)
            parts = Parts(Path(folder), _schema(), 5, lambda row: (row["index"], False))
            assert parts.rows == sum(parts.done)
            free = parts.done.find(0)
            if free >= 0:
                line = json.dumps({"index": free, "answer": "x"}).encode() + b"\n"
                parts.write([(free, False, line)])
            parts.close()
            again = Parts(Path(folder), _schema(), 5, lambda row: (row["index"], False))
            again.close()
            assert again.rows == parts.rows, "what was written is not there again"


def _parquet() -> bytes:
    """A file with a column of each kind that is read in its own way."""
    import pyarrow as pa

    day = datetime(2026, 11, 30, 12, 30)
    return _written(
        pa.table(
            {
                "id": ["a", "b"],
                "n": [1, None],
                "x": [[1.5], []],
                "b": [b"x", b"\xff"],
                "when": pa.array([day, None], pa.timestamp("ns", "Europe/Berlin")),
                "day": [day.date(), None],
                "time": [day.time(), None],
                "long": pa.array([1, None], pa.duration("s")),
                "money": [Decimal("1.50"), None],
                "kind": pa.array(["u", "v"]).dictionary_encode(),
                "deep": [{"a": [{"b": 1}]}, None],
            }
        )
    )


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema([("index", pa.int64()), ("answer", pa.string()), ("error", pa.string())])


def _part() -> bytes:
    import pyarrow as pa

    rows = [{"index": 0, "answer": "x"}, {"index": 3, "error": "no"}]
    return _written(pa.Table.from_pylist(rows, _schema()))


def _written(table: Any) -> bytes:
    import pyarrow.parquet as pq

    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()
