"""Strict JSON, and files that nobody vouches for."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from cactus.errors import ModelFormatError, ModelNotFound
from cactus.inputs.files import RegularFile, parse_json, read_bytes, read_json, replace_file


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"a": [1, 2.5, null, true, "x"]}', {"a": [1, 2.5, None, True, "x"]}),
        (b'"\\ud834\\udd1e"', "𝄞"),
        ("[“é”]".replace("“", '"').replace("”", '"').encode(), ["é"]),
        (b"[" * 100 + b"]" * 100, None),
    ],
)
def test_json(text: bytes, value: object) -> None:
    parsed = parse_json(text, "here")
    assert value is None or parsed == value


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b'{"a":1,"b":{"c":1,"c":2}}', "'c' occurs twice"),
        (b'["\\ud834"]', "surrogate"),
        (b'{"\\uDC00": 1}', "surrogate"),
        (b'["\xed\xa0\x80"]', "not valid JSON"),
        (b"\xff\xfe[\0]\0", "not valid JSON"),
        (b"[Infinity]", "Infinity is not JSON"),
        (b"[NaN]", "NaN is not JSON"),
        (b"[" * 1_000_000, "nested too deeply"),
        (b'{"a":' * 1_000_000, "nested too deeply"),
        (b"9" * 10_000, "not valid JSON"),
        (b"", "not valid JSON"),
    ],
)
def test_what_is_not_json_is_refused(text: bytes, match: str) -> None:
    with pytest.raises(ModelFormatError, match=match) as caught:
        parse_json(text, "here")
    assert str(caught.value).startswith("here: ")
    assert len(str(caught.value)) < 500


def test_limits_and_kinds(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_bytes(b"[1]")
    assert read_bytes(path, 3) == b"[1]"
    with pytest.raises(ModelFormatError, match="3 bytes, expected at most 2"):
        read_bytes(path, 2)
    with pytest.raises(ModelFormatError, match="expected a JSON object, got list"):
        read_json(path)
    with pytest.raises(ModelNotFound):
        read_json(tmp_path / "absent.json")


@pytest.mark.parametrize("system", ["posix", "windows"])
def test_reading_by_offset(system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if system == "windows":
        monkeypatch.delattr(os, "preadv")
    path = tmp_path / "f"
    path.write_bytes(bytes(range(100)))
    file = RegularFile(path)
    assert list(file.read(10, 3)) == [10, 11, 12]
    assert len(file.read(100, 0)) == 0
    for offset, size in ((-1, 2), (0, 101), (100, 1), (2**64, 1), (1, -1)):
        with pytest.raises(ModelFormatError, match="asked of a file of 100 bytes"):
            file.read(offset, size)
    file.close()
    with pytest.raises(ModelFormatError, match="cannot be read at byte 0"):
        file.read(0, 1)


def test_unclosed_files_are_closed_with_their_object(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"x")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        RegularFile(path)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.fault("F66")
def test_a_file_is_replaced_whole_or_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "settings"
    replace_file(path, b"old", mode=0o600)
    assert path.read_bytes() == b"old"
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        replace_file(path, b"new", durable=True)
    assert [each.name for each in tmp_path.iterdir()] == ["settings"]
    assert path.read_bytes() == b"old"
