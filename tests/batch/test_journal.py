"""What is left of an output is gone on with, wherever it was torn."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cactus.batch.journal import Journal
from cactus.batch.works.chat import Chat
from cactus.errors import InvalidRequest

COUNT = 12
LINES = [
    json.dumps(
        {"index": n, "answer": "é\n" * (n % 3), "error": "no" if n % 4 == 3 else None}
    ).encode()
    + b"\n"
    for n in (3, 0, 1, 7, 2, 11, 4, 5, 6, 10, 9, 8)
]
OWN_LINES = b"".join(LINES)


def gone_on(path: Path) -> tuple[int, int, int]:
    """Opens what is there, writes all rows that are missing; how many there were, errors, rows."""
    journal = Journal(path, COUNT, Chat({}, {}).entry)
    before = journal.rows
    missing = [line for line in LINES if not journal.done[json.loads(line)["index"]]]
    journal.write((json.loads(line)["index"], b'"no"' in line, line) for line in missing)
    journal.close()
    return before, journal.errors, journal.rows


@pytest.mark.fault("F66")
@given(st.integers(0, len(OWN_LINES)), st.binary(max_size=40))
def test_each_row_is_there_once_wherever_it_was_torn(
    tmp_path_factory: pytest.TempPathFactory, cut: int, dirt: bytes
) -> None:
    path = tmp_path_factory.mktemp("torn") / "out.jsonl"
    path.write_bytes(OWN_LINES[:cut] + dirt)
    before, errors, rows = gone_on(path)
    whole = [line for line in LINES if line in OWN_LINES[:cut]]
    assert before >= len(whole), "what is whole stays"
    assert (errors, rows) == (3, COUNT)
    found = path.read_bytes().splitlines(keepends=True)
    assert sorted(found) == sorted(LINES) and found[: len(whole)] == whole


@given(st.integers(0, len(OWN_LINES) - 1), st.integers(1, 60))
def test_a_block_of_zeros_and_what_follows_is_done_again(
    tmp_path_factory: pytest.TempPathFactory, start: int, length: int
) -> None:
    path = tmp_path_factory.mktemp("zeros") / "out.jsonl"
    zeros = OWN_LINES[:start] + bytes(length) + OWN_LINES[start + length :]
    path.write_bytes(zeros[: len(OWN_LINES)])
    assert gone_on(path)[1:] == (3, COUNT)
    assert sorted(path.read_bytes().splitlines(keepends=True)) == sorted(LINES)


def test_rows_that_something_else_has_written_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(LINES[0] * 2)
    with pytest.raises(InvalidRequest, match="row 3 is there twice"):
        Journal(path, COUNT, Chat({}, {}).entry)
    path.write_bytes(b'{"index": 12, "error": null}\n')
    with pytest.raises(InvalidRequest, match="row 12 is there and the input has not"):
        Journal(path, COUNT, Chat({}, {}).entry)
    assert path.read_bytes() == b'{"index": 12, "error": null}\n'


@pytest.mark.skipif(sys.platform == "win32", reason="has no limit of the size of files")
def test_a_full_disk_names_the_file_and_leaves_nothing_open(tmp_path: Path) -> None:
    import resource

    path = tmp_path / "out.jsonl"
    journal = Journal(path, COUNT, Chat({}, {}).entry)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(OWN_LINES) // 2, before[1]))
    try:
        for write in (lambda: journal.write([(0, False, OWN_LINES)]), journal.close):
            with pytest.raises(OSError, match="File too large") as told:
                write()
            assert told.value.filename == str(path)
        assert journal._file.closed
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert gone_on(path)[1:] == (3, COUNT)
    assert sorted(path.read_bytes().splitlines(keepends=True)) == sorted(LINES)
