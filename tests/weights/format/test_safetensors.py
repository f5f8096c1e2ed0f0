"""The safetensors reader and writer: round trips, and the rules of the format."""

from __future__ import annotations

import mmap
import os
import re
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cactus.errors import ModelFormatError, ModelNotFound
from cactus.weights.format.safetensors import (
    ALIGNMENT,
    FILLER,
    HEADER_LIMIT,
    MAX_TENSORS,
    SafetensorsWriter,
    read_safetensors,
    write_safetensors,
)
from tests.weights.forge import Safetensors, entry, two_tensors


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    return path


def refuse(tmp_path: Path, data: bytes, match: str) -> None:
    path = write(tmp_path, data)
    with pytest.raises(ModelFormatError, match=match) as caught:
        read_safetensors(path)
    assert str(path) in str(caught.value)


def refuse_entries(tmp_path: Path, entries: dict[str, Any], match: str, size: int = 20) -> None:
    refuse(tmp_path, Safetensors(entries, bytes(size)).build(), match)


# Round trips

_arrays = hnp.arrays(
    st.sampled_from(
        [np.dtype(d) for d in ("u1", "i1", "<i4", "<u2", "<i8", "<f2", "<f4", "<f8", "?")]
    ),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9),
)
_names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(
    lambda name: name != "__metadata__" and not name.startswith(FILLER)
)


@given(
    st.dictionaries(_names, _arrays, max_size=6),
    st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.just("x")),
)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, Any], metadata: dict[str, str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round.safetensors"
    write_safetensors(path, tensors, metadata)
    file = read_safetensors(path)
    assert file.metadata == metadata
    assert list(file.tensors) == list(tensors)
    for name, array in tensors.items():
        info = file.tensors[name]
        assert info.shape == array.shape
        assert info.offset % ALIGNMENT == 0
        assert file.read(name).tobytes() == array.tobytes()
    file.close()


def test_reads_in_pieces(tmp_path: Path) -> None:
    data = np.arange(100, dtype=np.uint8)
    write_safetensors(tmp_path / "f", {"a": data})
    file = read_safetensors(tmp_path / "f")
    assert file.read("a", 10, 5).tolist() == [10, 11, 12, 13, 14]
    for start, size in ((-1, 2), (99, 2), (0, -1)):
        with pytest.raises(ValueError, match="of 100"):
            file.read("a", start, size)


def test_a_header_of_another_writer(tmp_path: Path) -> None:
    """Keys in any order, spaces, tensors in any order, empty and scalar tensors."""
    header = (
        b'{ "b" : {"data_offsets":[4,8],"shape":[],"dtype":"F32"},\n'
        b' "__metadata__":{"k":"v"}, "e":{"dtype":"I64","shape":[3,0],"data_offsets":[4,4]},'
        b' "a":{"shape":[4],"dtype":"U8","data_offsets":[0,4]}}   '
    )
    file = read_safetensors(write(tmp_path, Safetensors(header=header, data=b"12345678").build()))
    assert file.metadata == {"k": "v"}
    assert {name: file.read(name).tobytes() for name in file.tensors} == {
        "a": b"1234",
        "b": b"5678",
        "e": b"",
    }


def test_writing_is_atomic(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_safetensors(path, {"a": np.zeros(3, np.float32)})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="no dtype"):
        write_safetensors(path, {"a": np.array(["text"])})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def in_large_pages(path: Path) -> int:
    """Bytes of a file that a mapping of it has in large pages."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        view.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, len(view), 4096):
            view[at]
        parts = re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text())
        (part,) = (part for part in parts if str(path) in part.splitlines()[0])
        found = re.search(r"FilePmdMapped: +(\d+) kB", part)
        return int(found[1]) << 10 if found else 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which pages a file is in")
def test_what_was_written_in_any_pieces_lies_in_large_pages(tmp_path: Path) -> None:
    size, piece = 32 << 20, np.zeros(1000, np.uint8)

    # As files come: in pieces that begin anywhere. What a system makes of it when it reads it anew
    # is all that can be asked for.
    possible = tmp_path / "possible"
    with possible.open("wb", buffering=0) as file:
        for _ in range(size // 5000):
            file.write(bytes(5000))
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    large = in_large_pages(possible)
    if large < size // 2:
        pytest.skip("this system has no large pages for files here")
    with SafetensorsWriter(tmp_path / "f", [("a", "U8", (size // 1000, 1000))], {}) as file:
        file.begin("a")
        for _ in range(size // 1000):
            file.write(piece)
    assert in_large_pages(tmp_path / "f") > 0.7 * large


def test_small_pieces_are_written_together(tmp_path: Path) -> None:
    rows, row = 12, np.zeros(1 << 20, np.uint8)
    sizes = []
    with SafetensorsWriter(tmp_path / "f", [("a", "U8", (rows, len(row)))], {}) as file:
        file.begin("a")
        for _ in range(rows):
            file.write(row)
            sizes.append((tmp_path / "f").stat().st_size)
    grown = np.diff(sorted({0, *sizes}))
    assert len(grown) > 1
    assert min(grown) > 2 << 20


def test_the_writer_keeps_its_announced_order(tmp_path: Path) -> None:
    infos = [("a", "U8", (4,)), ("b", "U8", (70,)), ("empty", "F32", (0, 3))]
    data = np.arange(70, dtype=np.uint8)

    def writer(name: str) -> SafetensorsWriter:
        return SafetensorsWriter(tmp_path / name, infos, {})

    with writer("ok") as file:
        file.begin("a")
        file.write(data[:4])
        file.begin("b")
        file.write(data[:30])
        file.write(data[30:])
        file.begin("empty")
    read = read_safetensors(tmp_path / "ok")
    assert read.read("b").tobytes() == data.tobytes()
    with pytest.raises(ValueError, match="out of order"), writer("order") as file:
        file.begin("b")
    with pytest.raises(ValueError, match="out of order"), writer("half") as file:
        file.begin("a")
        file.write(data[:3])
        file.begin("b")
    with pytest.raises(ValueError, match="5 bytes for a tensor with 4 left"), writer("5") as file:
        file.begin("a")
        file.write(data[:5])
    with pytest.raises(ValueError, match="only 1 of 3"), writer("missing") as file:
        file.begin("a")
        file.write(data[:4])
    with pytest.raises(FileExistsError):
        writer("ok")
    with pytest.raises(ValueError, match="'a' twice"):
        SafetensorsWriter(tmp_path / "twice", [infos[0], infos[0]], {})
    assert not (tmp_path / "twice").exists()


# What is refused


@pytest.mark.fault("F13")
@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "0 bytes are not a safetensors file"),
        (b"\0\0\0", "3 bytes"),
        (bytes(8), "header length is 0"),
        (struct.pack("<Q", 1) + b"{", "header length is 1"),
        (struct.pack("<Q", 100_000_001) + b"{}", "header length is 100000001"),
        (struct.pack("<Q", HEADER_LIMIT + 1) + b"{}", "at most"),
        (struct.pack("<Q", 2**64 - 1) + b"{}", "header length is 18446744073709551615"),
        (struct.pack("<Q", 2**63) + b"{}", "header length"),
        (struct.pack("<Q", 3) + b"{}", "header length is 3, but the file has 10 bytes"),
    ],
)
def test_an_impossible_header_length_is_refused(tmp_path: Path, data: bytes, match: str) -> None:
    refuse(tmp_path, data, match)


@pytest.mark.fault("F13")
@pytest.mark.parametrize(
    ("header", "match"),
    [
        (b"[]", "begins with"),
        (b" {}", "begins with"),
        (b"null", "begins with"),
        (b'"a"', "begins with"),
        (b"{ ", "not valid JSON"),
        (b"{]", "not valid JSON"),
        (b'{"a":}', "not valid JSON"),
        (b"{} x", "not valid JSON"),
        (b"{}\0", "not valid JSON"),
        (b'{"\xff":1}', "not valid JSON"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":-Infinity}', "-Infinity is not JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", "JSON|dtype"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
    ],
)
def test_a_header_that_is_not_a_json_object_is_refused(
    tmp_path: Path, header: bytes, match: str
) -> None:
    refuse(tmp_path, Safetensors(header=header).build(), match)


@pytest.mark.fault("F13")
@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
        b'{"a":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}',
        b'{"__metadata__":{"k":"1","k":"2"}}',
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        b'"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
    ],
)
def test_duplicate_keys_are_refused(tmp_path: Path, header: bytes) -> None:
    refuse(tmp_path, Safetensors(header=header, data=b"x").build(), "occurs twice")


@pytest.mark.fault("F13")
@pytest.mark.parametrize("metadata", [[], None, "x", {"a": 1}, {"a": None}, {"a": {"b": "c"}}])
def test_metadata_of_other_than_strings_is_refused(tmp_path: Path, metadata: Any) -> None:
    refuse_entries(tmp_path, {"__metadata__": metadata}, "__metadata__", 0)


@pytest.mark.fault("F13")
@pytest.mark.parametrize("value", [None, 1, "x", [], {}, {"dtype": "U8"}])
def test_an_entry_that_is_not_a_tensor_is_refused(tmp_path: Path, value: Any) -> None:
    refuse_entries(tmp_path, {"a": value}, "'a': expected exactly dtype")
    both = entry("U8", [20], 0, 20) | {"extra": 1}
    refuse_entries(tmp_path, {"a": both}, "'a': expected exactly dtype")


@pytest.mark.fault("F13")
@pytest.mark.parametrize("dtype", ["F31", "f32", "", None, 7, [], "F32 "])
def test_an_unknown_dtype_is_named(tmp_path: Path, dtype: Any) -> None:
    refuse_entries(tmp_path, {"a": entry(dtype, [5], 0, 20)}, "'a': unknown dtype")


@pytest.mark.fault("F06", "F13")
@pytest.mark.parametrize(
    "shape", [None, 5, "5", [-5], [5.0], [True], ["5"], [None], [[5]], [2**63], [1] * 17, {}]
)
def test_a_bad_shape_is_refused(tmp_path: Path, shape: Any) -> None:
    refuse_entries(tmp_path, {"a": entry("F32", shape, 0, 20)}, "'a': shape")


@pytest.mark.fault("F06", "F13")
@pytest.mark.parametrize("shape", [[2**32, 2**32], [2**62, 4], [2**61, 8], [4], [6], [0], []])
def test_a_shape_that_does_not_fit_the_bytes_is_refused(tmp_path: Path, shape: list[int]) -> None:
    """Products that would wrap to the right size in 64 bits are among them."""
    refuse_entries(tmp_path, {"a": entry("F32", shape, 0, 20)}, r"'a': .*but F32 .* needs")


@pytest.mark.fault("F13")
@pytest.mark.parametrize(
    "offsets", [None, [], [0], [0, 20, 20], [0, "20"], [0.0, 20.0], [-20, 0], [0, 2**64], "0,20"]
)
def test_bad_offsets_are_refused(tmp_path: Path, offsets: Any) -> None:
    value = {"dtype": "F32", "shape": [5], "data_offsets": offsets}
    refuse_entries(tmp_path, {"a": value}, "'a': data_offsets")


@pytest.mark.fault("F13")
def test_an_offset_that_begins_after_its_end_is_refused(tmp_path: Path) -> None:
    refuse_entries(tmp_path, {"a": entry("F32", [5], 20, 0)}, "'a': data_offsets")
    refuse_entries(tmp_path, {"a": entry("F32", [0], 20, 0)}, "'a': data_offsets")


@pytest.mark.fault("F13")
@pytest.mark.parametrize(
    ("first", "second", "size", "match"),
    [
        ((0, 16), (17, 21), 21, "leaves a hole"),
        ((0, 16), (15, 19), 19, "overlaps"),
        ((0, 16), (0, 4), 16, "'a' .* overlaps"),
        ((4, 20), (20, 24), 24, "leaves a hole"),
        ((0, 16), (16, 20), 21, "1 bytes follow"),
        ((0, 16), (16, 20), 19, "truncated"),
        ((0, 16), (2**40, 2**40 + 4), 20, "hole"),
    ],
)
def test_holes_overlaps_and_trailing_bytes_are_refused(
    tmp_path: Path, first: tuple[int, int], second: tuple[int, int], size: int, match: str
) -> None:
    entries = {"a": entry("F32", [2, 2], *first), "b": entry("U8", [4], *second)}
    refuse_entries(tmp_path, entries, match, size)


@pytest.mark.fault("F13")
def test_bytes_without_tensors_are_refused(tmp_path: Path) -> None:
    refuse_entries(tmp_path, {}, "20 bytes follow the last tensor")


@pytest.mark.fault("F13")
def test_more_tensors_than_any_model_has_are_refused(tmp_path: Path) -> None:
    entries = {str(index): entry("U8", [0], 0, 0) for index in range(MAX_TENSORS + 1)}
    refuse_entries(tmp_path, entries, "65537 tensors, expected at most 65536", 0)


@pytest.mark.fault("F13")
@pytest.mark.timeout(60)
def test_a_header_full_of_brackets_takes_bounded_time(tmp_path: Path) -> None:
    header = b'{"a":[' + b"[]," * (HEADER_LIMIT // 3 - 10) + b"[]]}"
    refuse(tmp_path, Safetensors(header=header).build(), "'a': expected exactly")


@pytest.mark.fault("F11")
@pytest.mark.parametrize("sixteenth", range(16))
def test_a_truncated_file_is_refused(tmp_path: Path, sixteenth: int) -> None:
    data = two_tensors().build()
    refuse(tmp_path, data[: len(data) * sixteenth // 16], "bytes|header")


@pytest.mark.fault("F11")
def test_a_file_truncated_by_one_byte_more_each_time_is_refused(tmp_path: Path) -> None:
    data = two_tensors().build()
    for size in range(len(data)):
        refuse(tmp_path, data[:size], "bytes|header")
    assert set(read_safetensors(write(tmp_path, data)).tensors) == {"a", "b"}


@pytest.mark.fault("F11")
def test_a_file_that_shrinks_while_open_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, two_tensors().build())
    file = read_safetensors(path)
    os.truncate(path, file.tensors["b"].offset + 1)
    with pytest.raises(ModelFormatError, match="cut while being read"):
        file.read("b")


@pytest.mark.fault("F20")
def test_what_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (tmp_path, fifo, Path("/dev/zero"), Path("/dev/random")):
        with pytest.raises(ModelFormatError, match="expected a regular file"):
            read_safetensors(path)
    with pytest.raises(ModelNotFound, match="no such file"):
        read_safetensors(tmp_path / "absent")


def test_names_are_shown_short(tmp_path: Path) -> None:
    """A hostile name of megabytes does not become a message of megabytes."""
    entries = {"n" * 1_000_000: entry("F31", [5], 0, 20)}
    path = write(tmp_path, Safetensors(entries, bytes(20)).build())
    with pytest.raises(ModelFormatError) as caught:
        read_safetensors(path)
    assert len(str(caught.value)) < 1000
    assert f"tensor '{'n' * 80}…' (1000000 characters): unknown dtype 'F31'" in str(caught.value)
