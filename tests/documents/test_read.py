"""Reading files: encodings, rows, and everything that is not read, with the reason."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from cactus.documents.chunk import chunk
from cactus.documents.decode import decode
from cactus.documents.kinds import kind_of
from cactus.documents.read import Reader
from cactus.documents.types import Document, Limits, Skipped
from cactus.documents.unread import Unread
from cactus.errors import InvalidAudio, UnsupportedAudio
from tests.documents.made import document, entry_of, headings, offsets, read, write

GERMAN = "Die Größe der Äpfel über dem Fluß: schön.\r\nZweite Zeile — mit „Anführung“.\n" * 20
RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю.\n" * 20
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n" * 20


@pytest.mark.fault("F71")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
@pytest.mark.parametrize("text", [GERMAN, RUSSIAN, JAPANESE], ids=["de", "ru", "ja"])
def test_unicode_is_read_with_and_without_a_mark(tmp_path: Path, text: str, encoding: str) -> None:
    data = text.encode(encoding)
    if encoding == "utf-16-le" and text is not GERMAN:
        return  # nothing tells it from other bytes where there are no Latin letters
    found = document(tmp_path, "a.txt", data)
    assert found.text == text  # newlines as they are, and no mark


@pytest.mark.fault("F71")
@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (GERMAN.replace("„", "“"), "cp1252"),
        ("naïve café, déjà vu\n" * 5, "latin-1"),
        (RUSSIAN, "cp1251"),
        (RUSSIAN, "koi8-r"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
    ],
)
def test_older_encodings_are_recognised(tmp_path: Path, text: str, encoding: str) -> None:
    assert document(tmp_path, "a.txt", text.encode(encoding)).text == text


def test_a_few_wrong_bytes_in_utf8_are_noted_and_not_guessed_about(tmp_path: Path) -> None:
    found = document(tmp_path, "a.log", (RUSSIAN * 4).encode() + b"\xff\xfe\n")
    assert found.text.startswith(RUSSIAN) and found.notes == ["2 places are not UTF-8"]


@pytest.mark.fault("F71")
@pytest.mark.parametrize(
    "data",
    [
        *(
            b"a\0b",
            b"\0\1",
            b"\0\1\0\2" * 40,
            bytes(range(256)) * 20,
            b"\x01\x02\x03" * 100,
            b"\0" * 5000,
        ),
        *(b"text " * 20_000 + b"\0", Random(0).randbytes(5000), b"\xff\xfe" + b"\x00\xd8" * 400),
    ],
)
def test_what_is_not_text_is_binary(data: bytes) -> None:
    with pytest.raises(Unread) as error:
        decode(data)
    assert error.value.reason == "binary"


@pytest.mark.fault("F71")
@pytest.mark.parametrize(
    ("name", "content", "reason", "detail"),
    [
        ("a.txt", b"", "empty", "0 bytes"),
        ("a.txt", b" \r\n\t\n", "empty", "no text"),
        ("a.html", b"<script>x</script>", "empty", "no text"),
        ("a.png", b"\x89PNG", "unsupported", "a picture"),
        ("a.tar.gz", b"\x1f\x8b", "unsupported", "an archive"),
        ("a.doc", b"\xd0\xcf", "unsupported", "save it as .docx"),
        ("a.mp3", b"ID3", "unsupported", "name a speech model"),
        ("a", b"\x7fELF\0\0\0", "binary", "NUL"),
        ("a.txt.gz", b"not gzip", "damaged", "not a gzip file"),
        ("a.txt.gz", gzip.compress(b"x" * 1000)[:-20], "damaged", "cut short"),
        ("a.txt.gz", gzip.compress(b"x" * 5000), "too large", "unpacked_bytes"),
        ("a.log", b"x" * 3000, "too large", "3 kB, the limit text_bytes is 2 kB"),
        ("a.docx", b"x" * 3000, "too large", "the limit binary_bytes is 2 kB"),
        ("a.pdf", b"no pdf", "damaged", ""),
    ],
)
def test_what_is_not_read_is_named_with_the_reason(
    tmp_path: Path, name: str, content: bytes, reason: str, detail: str
) -> None:
    limits = Limits(text_bytes=2000, binary_bytes=2000, unpacked_bytes=4000)
    found = read(tmp_path, name, content, limits)
    assert isinstance(found, Skipped)
    assert (found.path, found.reason) == (name, reason)
    assert detail in found.detail


@pytest.mark.fault("F71")
def test_a_file_that_changes_after_it_was_found_is_never_followed(tmp_path: Path) -> None:
    root = write(
        tmp_path.resolve() / "root", {"a.txt": "a", "sub/b.txt": "b", "c.txt": "c", "d.txt": ""}
    )
    write(tmp_path, {"secret/b.txt": "key"})
    entries = {name: entry_of(root / name) for name in ("a.txt", "sub/b.txt", "c.txt", "d.txt")}
    (root / "a.txt").unlink()
    (root / "a.txt").symlink_to("../secret/b.txt")
    (root / "sub/b.txt").unlink()
    (root / "sub").rmdir()
    (root / "sub").symlink_to("../secret")
    (root / "c.txt").unlink()
    os.mkfifo(root / "c.txt")
    (root / "d.txt").unlink()
    with Reader() as reader:
        found = {name: reader.read(entry) for name, entry in entries.items()}
    reasons = {name: skip.reason for name, skip in found.items() if isinstance(skip, Skipped)}
    assert reasons == {
        "a.txt": "gone",
        "sub/b.txt": "gone",
        "c.txt": "special",
        "d.txt": "gone",
    }


@pytest.mark.fault("F71")
def test_a_file_that_may_not_be_read_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    write(tmp_path, {"a.txt": "x"})
    entry = entry_of(tmp_path.resolve() / "a.txt")
    monkeypatch.setattr(os, "open", refuse)
    with Reader() as reader:
        assert reader.read(entry) == Skipped("a.txt", "unreadable", "Permission denied")


def test_content_tells_the_kind_where_the_name_does_not(tmp_path: Path) -> None:
    assert document(tmp_path, "page", "<!DOCTYPE html><p>Hi").kind == "html"
    assert document(tmp_path, "LICENSE", "Some text.").kind == "text"
    assert kind_of("docs/a.rst.txt") == "rst" and kind_of("a.md.gz") == "markdown"
    assert document(tmp_path, "README.gz", gzip.compress(b"text")).kind == "text"
    packed = document(tmp_path, "a.md.gz", gzip.compress(b"# A\n") + gzip.compress(b"text"))
    assert (packed.text, headings(packed)) == ("# A\ntext", [(1, "A")])


def test_rows_of_a_csv_file_carry_names_and_lines(tmp_path: Path) -> None:
    found = document(
        tmp_path, "a.csv", 'name;note\r\nAda;"two\r\nlines"\r\nBob;\r\n\r\nEve;x;more\r\n'
    )
    assert found.text == "name: Ada; note: two lines\nname: Bob\nname: Eve; note: x; more\n"
    assert [line for _, line in found.lines] == [2, 4, 6]
    assert document(tmp_path, "b.csv", "1,2\n3,4\n").text == "1; 2\n3; 4\n"
    assert document(tmp_path, "c.tsv", "a\tb\n1\t2,5\n").text == "a: 1; b: 2,5\n"
    pieces = list(chunk(document(tmp_path, "d.csv", "n\n" + "12345\n" * 900), offsets))
    assert pieces[0].line == 2 and all(piece.text.startswith("n: ") for piece in pieces)
    wrong = read(tmp_path, "e.csv", '"' + "x" * 2_000_000)
    assert isinstance(wrong, Skipped) and (wrong.reason, "line 1" in wrong.detail) == (
        "damaged",
        True,
    )


def test_json_is_read_as_paths_and_values(tmp_path: Path) -> None:
    found = document(
        tmp_path, "a.json", '{"a": {"b": [1, 2.50, "x"]}, "c": [{"d": null}], "e": "\\u00fc"}'
    )
    assert found.text == "a.b: 1, 2.50, x\nc[0].d: null\ne: ü\n"
    lines = document(tmp_path, "a.jsonl", '{"q": "Why?", "n": 1}\nnot json\n\n{"q": "\\ud800"}\n')
    assert lines.text == "q: Why?\nn: 1\nnot json\nq: \ufffd\n"
    assert [line for _, line in lines.lines] == [1, 2, 4] and lines.notes == [
        "1 lines are not JSON"
    ]
    assert document(tmp_path, "b.json", "{// comment\n}").kind == "code"
    assert document(tmp_path, "c.json", "1" * 10_000).text == "1" * 10_000 + "\n"
    cells = [
        {"cell_type": "markdown", "source": ["# T\n", "x"]},
        {"cell_type": "code", "source": "y = 1"},
    ]
    notebook = document(tmp_path, "d.ipynb", json.dumps({"nbformat": 4, "cells": cells}))
    assert headings(notebook) == [(1, "T")] and notebook.blocks[-1].kind == "code"


def test_subtitles_carry_times_and_lines(tmp_path: Path) -> None:
    text = (
        "WEBVTT\n\nNOTE no\n\n00:01.000 --> 00:02.500 align:left\n<v Ada>Hello</v>\n"
        "<i>there</i>\n\n"
        "1\r\n01:00:00,250 --> 01:00:01,000\r\nBye. a < b\r\n"
    )
    found = document(tmp_path, "a.vtt", text)
    assert found.text == "Hello there\nBye. a < b\n"
    assert found.times == [(0, 1.0, 2.5), (12, 3600.25, 3601.0)]
    assert found.lines == [(0, 6), (12, 11)]
    wrong = read(tmp_path, "b.srt", "no times")
    assert wrong == Skipped("b.srt", "damaged", "no times of subtitles in it")


@dataclass
class Said:
    start: float
    end: float
    text: str


def test_recordings_are_transcribed_and_chunks_carry_times(tmp_path: Path) -> None:
    def transcribe(path: str) -> Iterator[Said]:
        if path.endswith("damaged.mp3"):
            raise InvalidAudio("damaged.mp3: not audio")
        if path.endswith("other.m4a"):
            raise UnsupportedAudio("other.m4a: install av")
        for second in range(0, 300, 5):
            yield Said(second, second + 4.5, f" This was said at second {second}, and then more.")

    write(tmp_path, {"a.wav": "x", "damaged.mp3": "x", "other.m4a": "x"})
    root = tmp_path.resolve()
    with Reader(Limits(text_bytes=0, binary_bytes=0), transcribe) as reader:
        entry = entry_of(root / "a.wav")
        assert reader.load(entry) is None
        found = reader.read(entry)
        damaged = reader.read(entry_of(root / "damaged.mp3"))
        other = reader.read(entry_of(root / "other.m4a"))
    assert isinstance(found, Document) and found.kind == "recording"
    pieces = list(chunk(found, offsets))
    assert len(pieces) > 2
    for piece in pieces:
        seconds = [int(line.split()[5].rstrip(",")) for line in piece.text.splitlines()]
        assert piece.time == (seconds[0], seconds[-1] + 4.5)
    assert damaged == Skipped("damaged.mp3", "damaged", "damaged.mp3: not audio")
    assert other == Skipped("other.m4a", "unsupported", "other.m4a: install av")
