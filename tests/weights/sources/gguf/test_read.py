"""The GGUF reader: what it reads, and what it refuses before it allocates anything."""

from __future__ import annotations

import os
import struct
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from cactus.errors import ModelFormatError, ModelNotFound, UnsupportedModel
from cactus.weights.sources.gguf.file import TYPES
from cactus.weights.sources.gguf.read import MAX_ENTRIES, read_gguf
from tests.weights import forge
from tests.weights.forge import (
    ARRAY,
    BOOL,
    F32,
    F64,
    I8,
    I32,
    STRING,
    U32,
    U64,
    Entry,
    Forge,
    tiny_llama,
)

Lie = Callable[[Forge], object]


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    return path


def refuse(
    tmp_path: Path, data: bytes, match: str, kind: type[Exception] = ModelFormatError
) -> None:
    """The file is refused with a message that names it and the fault, without much memory."""
    path = write(tmp_path, data)
    tracemalloc.start()
    try:
        with pytest.raises(kind, match=match) as caught:
            read_gguf(path)
        assert tracemalloc.get_traced_memory()[1] < len(data) * 8 + (1 << 20)
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)


def lying(lie: Lie) -> bytes:
    model = tiny_llama()
    lie(model)
    return model.build()


# What is read


def test_metadata_of_every_type(tmp_path: Path) -> None:
    model = Forge()
    wanted: dict[str, Any] = {
        "int8": -3,
        "uint32": 7,
        "uint64": 2**64 - 1,
        "float": 0.5,
        "double": -1e300,
        "yes": True,
        "no": False,
        "word": "käse\n",
        "empty": "",
        "words": ["a", "", "𝄞"],
        "numbers": [-1, 2],
        "flags": [True, False],
        "none": [],
    }
    kinds = (I8, U32, U64, F32, F64, BOOL, BOOL, STRING, STRING)
    for key, kind in zip(wanted, kinds, strict=False):
        model.set(key, kind, wanted[key])
    model.put("words", ARRAY, forge.array(STRING, wanted["words"]))
    model.put("numbers", ARRAY, forge.array(I32, wanted["numbers"]))
    model.put("flags", ARRAY, forge.array(BOOL, wanted["flags"]))
    model.put("none", ARRAY, forge.array(U64, []))
    model.add("t", "F32", (1,))
    read = read_gguf(write(tmp_path, model.build())).metadata
    assert read == wanted
    assert [type(value) for value in read.values()] == [type(value) for value in wanted.values()]


def test_tensors_are_where_they_were_written(tmp_path: Path) -> None:
    model = tiny_llama()
    model.add("odd", "F32", (3, 5, 1, 7))
    model.add("scalar", "F16", (1,))
    path = write(tmp_path, model.build())
    file = read_gguf(path)
    raw = path.read_bytes()
    assert list(file.tensors) == [tensor.name for tensor in model.tensors]
    for tensor in model.tensors:
        read = file.tensors[str(tensor.name)]
        assert read.shape == tuple(reversed(tensor.dims))
        assert raw[read.offset : read.offset + read.nbytes] == tensor.data
        assert file.array(read.name).tobytes() == tensor.data
    assert file.rows("odd", 2, 4).tobytes() == model.tensor("odd").data[2 * 28 : 4 * 28]
    for start, stop in ((-1, 2), (2, 1), (0, 16)):
        with pytest.raises(ValueError, match="rows"):
            file.rows("odd", start, stop)
    file.close()
    file.close()


@pytest.mark.fault("F01")
@pytest.mark.parametrize("version", [2, 3])
def test_versions_and_alignments(tmp_path: Path, version: int) -> None:
    for alignment in (8, 32, 4096):
        model = tiny_llama()
        model.version, model.alignment = version, alignment
        model.set("general.alignment", U32, alignment)
        file = read_gguf(write(tmp_path, model.build()))
        assert file.array("output_norm.weight").tobytes() == model.tensor("output_norm.weight").data


def test_the_last_tensor_needs_no_padding(tmp_path: Path) -> None:
    model = tiny_llama()
    model.add("last", "F32", (3,))
    file = read_gguf(write(tmp_path, model.build()[:-20]))
    assert file.array("last").nbytes == 12


def test_same_as_the_gguf_package_on_the_starter_model(
    starter_gguf: Path, starter_reader: gguf.GGUFReader
) -> None:
    file, other = read_gguf(starter_gguf), starter_reader
    fields = {k: f.contents() for k, f in other.fields.items() if not k.startswith("GGUF.")}
    assert file.metadata == fields
    assert [*file.tensors] == [tensor.name for tensor in other.tensors]
    for tensor in other.tensors:
        read = file.tensors[tensor.name]
        assert read.type.name == tensor.tensor_type.name
        assert read.shape == tuple(int(side) for side in reversed(tensor.shape))
        assert (read.offset, read.nbytes) == (tensor.data_offset, tensor.n_bytes)
        if tensor.n_bytes < 100_000:
            raw = tensor.data.reshape(-1).view(np.uint8)
            assert np.array_equal(file.array(tensor.name).reshape(-1), raw)


def test_block_sizes_are_those_of_ggml() -> None:
    sizes = dict(gguf.GGML_QUANT_SIZES)
    # Two f16 and 32 codes; the package counts f32. No file stores this type.
    sizes[gguf.GGMLQuantizationType.Q8_1] = (32, 36)
    known = {number: (kind.name, kind.elements, kind.nbytes) for number, kind in TYPES.items()}
    assert known == {int(kind): (kind.name, *size) for kind, size in sizes.items()}


def test_reading_takes_linear_time(tmp_path: Path) -> None:
    """Twice the metadata must not take four times as long (a second is allowed for noise)."""
    seconds = []
    for count in (MAX_ENTRIES // 2, MAX_ENTRIES):
        model = Forge()
        model.entries = [Entry(f"k{index}", U32, bytes(4)) for index in range(count)]
        model.add("t", "F32", (1,))
        path = write(tmp_path, model.build())
        start = time.process_time()
        assert len(read_gguf(path).metadata) == count
        seconds.append(time.process_time() - start)
    assert seconds[1] < 3 * seconds[0] + 0.5


# What is refused


@pytest.mark.fault("F01")
@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "magic"),
        (b"GGU", "magic"),
        (b"GGUF", "version"),
        (b"ggml" + bytes(64), "magic"),
        (b"GGUF" + struct.pack("<I", 0) + bytes(64), "version is 0"),
        (b"GGUF" + struct.pack("<I", 1) + bytes(64), "version is 1"),
        (b"GGUF" + struct.pack("<I", 99) + bytes(64), "version is 99"),
        (b"FUGG" + bytes(64), "magic"),
        (bytes(64), "magic"),
    ],
)
def test_what_is_not_a_gguf_file_is_refused(tmp_path: Path, data: bytes, match: str) -> None:
    refuse(tmp_path, data, match)


@pytest.mark.fault("F01")
@pytest.mark.parametrize("version", [1, 2, 3])
def test_big_endian_files_are_named(tmp_path: Path, version: int) -> None:
    data = b"GGUF" + struct.pack(">I", version) + bytes(64)
    refuse(tmp_path, data, "big-endian", UnsupportedModel)


@pytest.mark.fault("F02")
@pytest.mark.parametrize("count", [-1, 2**63, 2**32, 10**9, 5000])
@pytest.mark.parametrize("what", ["tensor", "entry"])
def test_counts_beyond_the_file_are_refused(tmp_path: Path, what: str, count: int) -> None:
    match = "tensor count" if what == "tensor" else "metadata count"
    refuse(tmp_path, lying(lambda g: setattr(g, f"{what}_count", count)), match)


@pytest.mark.fault("F02")
@pytest.mark.parametrize("what", ["tensor", "entry"])
@pytest.mark.parametrize("by", [1, 2])
def test_counts_that_are_off_by_a_few_are_refused(tmp_path: Path, what: str, by: int) -> None:
    model = tiny_llama()
    true = len(model.tensors) if what == "tensor" else len(model.entries)
    for count in (true + by, true - by):
        setattr(model, f"{what}_count", count)
        refuse(tmp_path, model.build(), "at byte|bytes left|follow the last|dimensions")


@pytest.mark.fault("F02")
def test_more_entries_than_any_model_has_are_refused(tmp_path: Path) -> None:
    model = Forge(entries=[Entry(f"k{i}", U32, bytes(4)) for i in range(MAX_ENTRIES + 1)])
    refuse(tmp_path, model.build(), "metadata count is 65537, expected at most 65536")


@pytest.mark.fault("F03")
@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 2**32, 10**6])
def test_a_string_longer_than_the_file_is_refused(tmp_path: Path, length: int) -> None:
    payload = struct.pack("<Q", length) + b"abc"
    refuse(tmp_path, lying(lambda g: g.put("a.b", STRING, payload)), r"at byte \d+ needs")
    data = Forge(entry_count=1).build()[:24] + struct.pack("<Q", length) + bytes(64)
    refuse(tmp_path, data, "metadata key 0 at byte 32")


@pytest.mark.fault("F03")
@pytest.mark.parametrize(
    ("key", "match"),
    [
        (b"", "empty"),
        (b"a\0b", "NUL"),
        (b"\xff\xfe", "not UTF-8"),
        (b"\xed\xa0\x80", "not UTF-8"),  # A lone surrogate.
        (b"k" * 65536, "longer than 65535"),
        (b"llama.block_count", "occurs twice"),
    ],
)
def test_bad_keys_are_refused(tmp_path: Path, key: bytes, match: str) -> None:
    data = lying(lambda g: g.entries.append(Entry(key, U32, bytes(4))))
    refuse(tmp_path, data, rf"at byte \d+.*{match}")


@pytest.mark.fault("F03")
def test_a_value_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    data = lying(lambda g: g.put("general.name", STRING, forge.text(b"\xc3(")))
    refuse(tmp_path, data, "'general.name' at byte .* not UTF-8")


@pytest.mark.fault("F04")
@pytest.mark.parametrize(
    ("payload", "match"),
    [
        (struct.pack("<IQ", ARRAY, 1) + forge.array(U32, [1]), "array of arrays"),
        (struct.pack("<IQ", 255, 1) + bytes(8), "unknown type 255"),
        (struct.pack("<IQ", 13, 1) + bytes(8), "unknown type 13"),
        (forge.array(U32, [1], 2**40), "elements"),
        (forge.array(U64, [1], 2**61), "elements"),
        (forge.array(STRING, ["a"], 2**64 - 1), "elements"),
        (forge.array(forge.U8, [1], 10**6), "elements"),
    ],
)
def test_bad_arrays_are_refused(tmp_path: Path, payload: bytes, match: str) -> None:
    refuse(tmp_path, lying(lambda g: g.put("a.b", ARRAY, payload)), f"'a.b' at byte .*{match}")


@pytest.mark.fault("F04")
def test_more_elements_than_any_vocabulary_are_refused(tmp_path: Path) -> None:
    half = struct.pack("<IQ", BOOL, 3 << 20) + bytes(3 << 20)
    model = Forge(entries=[Entry("a", ARRAY, half), Entry("b", ARRAY, half)])
    path = write(tmp_path, model.build())
    with pytest.raises(ModelFormatError, match=r"'b' at byte .* more than 4194304"):
        read_gguf(path)


@pytest.mark.fault("F04")
@pytest.mark.parametrize("kind", [13, 255, 2**32 - 1])
def test_an_unknown_value_type_is_refused(tmp_path: Path, kind: int) -> None:
    refuse(tmp_path, lying(lambda g: g.put("a.b", kind, bytes(8))), f"unknown type {kind}")


@pytest.mark.parametrize("byte", [2, 255])
def test_a_bool_that_is_neither_true_nor_false_is_refused(tmp_path: Path, byte: int) -> None:
    refuse(tmp_path, lying(lambda g: g.put("a.b", BOOL, bytes([byte]))), "expected a bool")


@pytest.mark.fault("F05")
@pytest.mark.parametrize("value", [0, 1, 3, 4, 48, 2**31, 2**17])
def test_a_bad_alignment_is_refused(tmp_path: Path, value: int) -> None:
    data = lying(lambda g: g.set("general.alignment", U32, value))
    refuse(tmp_path, data, f"general.alignment is {value}")


@pytest.mark.fault("F05")
@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (STRING, forge.text("32")),
        (F32, struct.pack("<f", 32)),
        (BOOL, b"\1"),
        (ARRAY, forge.array(U32, [32])),
        (I32, struct.pack("<i", -32)),
    ],
)
def test_an_alignment_of_the_wrong_type_is_refused(
    tmp_path: Path, kind: int, payload: bytes
) -> None:
    data = lying(lambda g: g.put("general.alignment", kind, payload))
    refuse(tmp_path, data, "general.alignment is .*expected a power of two")


@pytest.mark.fault("F06")
@pytest.mark.parametrize("count", [0, 5, 2**31, 2**32 - 1])
def test_an_impossible_number_of_dimensions_is_refused(tmp_path: Path, count: int) -> None:
    data = lying(lambda g: setattr(g.tensors[1], "dim_count", count))
    refuse(tmp_path, data, f"'output_norm.weight' has {count} dimensions")


@pytest.mark.fault("F06")
@pytest.mark.parametrize(
    "dims",
    [
        [0],
        [-1],
        [32, 0],
        [2**63],
        [2**32, 2**32],
        [2**16, 2**16, 2**16, 2**16],
        [2**39, 2**39, 2**39, 2**39],
        [2**64 - 32, 2],
    ],
)
@pytest.mark.parametrize("name", ["output_norm.weight", "blk.0.attn_q.weight"])
def test_an_impossible_shape_is_refused(tmp_path: Path, dims: list[int], name: str) -> None:
    data = lying(lambda g: setattr(g.tensor(name), "dims", dims))
    refuse(tmp_path, data, f"'{name}' has the impossible shape")


@pytest.mark.fault("F06")
@pytest.mark.parametrize("side", [1, 31, 33, 48])
def test_rows_that_are_not_whole_blocks_are_refused(tmp_path: Path, side: int) -> None:
    data = lying(lambda g: setattr(g.tensor("blk.0.attn_q.weight"), "dims", [side, 4]))
    refuse(tmp_path, data, f"rows of {side} values, but Q4_1 stores blocks of 32")


@pytest.mark.fault("F07")
@pytest.mark.parametrize(
    ("offset", "match"),
    [
        (1, "not 32-aligned"),
        (16, "not 32-aligned"),
        (2**64 - 32, "truncated or lies"),
        (2**63, "truncated or lies"),
        (2**40, "truncated or lies"),
        (0, "overlaps"),
    ],
)
def test_wrong_tensor_offsets_are_refused(tmp_path: Path, offset: int, match: str) -> None:
    data = lying(lambda g: setattr(g.tensor("blk.1.attn_q.weight"), "offset", offset))
    refuse(tmp_path, data, f"tensor '.*{match}")


@pytest.mark.fault("F07")
def test_a_tensor_larger_than_its_data_is_refused(tmp_path: Path) -> None:
    data = lying(lambda g: setattr(g.tensor("token_embd.weight"), "dims", [32, 10**6]))
    refuse(tmp_path, data, "'token_embd.weight' occupies bytes .* truncated or lies")
    data = lying(lambda g: setattr(g.tensor("blk.0.attn_q.weight"), "dims", [32, 40]))
    refuse(tmp_path, data, "overlaps the one before")


@pytest.mark.fault("F07")
def test_a_hole_between_tensors_is_refused(tmp_path: Path) -> None:
    data = lying(lambda g: setattr(g.tensor("blk.0.attn_q.weight"), "dims", [32, 16]))
    refuse(tmp_path, data, "leaves a hole")


@pytest.mark.fault("F07")
def test_two_tensors_in_one_place_are_refused(tmp_path: Path) -> None:
    def lie(model: Forge) -> None:
        twin = model.tensors[-1]
        twin.offset = sum(len(t.data) + -len(t.data) % 32 for t in model.tensors[:-2])
        model.tensors[-2].offset = twin.offset

    refuse(tmp_path, lying(lie), "overlaps")


@pytest.mark.fault("F08")
def test_a_duplicate_tensor_name_is_refused(tmp_path: Path) -> None:
    data = lying(lambda g: setattr(g.tensors[2], "name", "output_norm.weight"))
    refuse(tmp_path, data, "'output_norm.weight' occurs twice")


@pytest.mark.fault("F08")
@pytest.mark.parametrize(
    ("name", "match"),
    [(b"", "empty"), (b"a\0", "NUL"), (b"\xff", "UTF-8"), (b"n" * 65, "longer than 64")],
)
def test_a_bad_tensor_name_is_refused(tmp_path: Path, name: bytes, match: str) -> None:
    data = lying(lambda g: setattr(g.tensors[2], "name", name))
    refuse(tmp_path, data, f"name of tensor 2 at byte .*{match}")


@pytest.mark.fault("F09")
@pytest.mark.parametrize("number", [42, 255, 2**31, 2**32 - 1])
def test_an_unknown_tensor_type_is_named(tmp_path: Path, number: int) -> None:
    data = lying(lambda g: setattr(g.tensors[2], "type", number))
    match = f"'blk.0.attn_norm.weight' has the unknown type {number}"
    refuse(tmp_path, data, match, UnsupportedModel)


@pytest.mark.fault("F09")
@pytest.mark.parametrize("number", [4, 5, 31, 32, 33, 36, 37, 38])
def test_a_type_that_ggml_removed_is_named(tmp_path: Path, number: int) -> None:
    data = lying(lambda g: setattr(g.tensors[2], "type", number))
    refuse(tmp_path, data, "attn_norm.weight' has the type .* removed", UnsupportedModel)


@pytest.mark.fault("F11")
@pytest.mark.parametrize("sixteenth", range(16))
def test_a_truncated_file_is_refused(tmp_path: Path, sixteenth: int) -> None:
    data = tiny_llama().build()
    refuse(tmp_path, data[: len(data) * sixteenth // 16], "magic|left|truncated")


@pytest.mark.fault("F11")
def test_a_file_truncated_anywhere_in_the_header_is_refused(tmp_path: Path) -> None:
    data = tiny_llama().build()
    header = read_gguf(write(tmp_path, data)).data_offset
    path = tmp_path / "cut.gguf"
    for size in range(0, header, 7):
        path.write_bytes(data[:size])
        with pytest.raises(ModelFormatError, match=r"cut\.gguf"):
            read_gguf(path)


@pytest.mark.fault("F11")
def test_a_file_that_shrinks_while_open_is_an_error(tmp_path: Path) -> None:
    """Another process cuts the file: an error, no SIGBUS, and what is left can still be read."""
    path = write(tmp_path, tiny_llama().build())
    file = read_gguf(path)
    os.truncate(path, file.tensors["blk.1.ffn_down.weight"].offset + 8)
    with pytest.raises(ModelFormatError, match="cut while being read"):
        file.array("blk.1.ffn_down.weight")
    assert file.array("token_embd.weight").shape == (272, 34)


@pytest.mark.fault("F20")
@pytest.mark.timeout(60)
def test_what_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    """Nothing blocks: no FIFO without a writer, no endless device."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, match in (
        (tmp_path, "a directory"),
        (fifo, "a named pipe"),
        (Path("/dev/zero"), "a character device"),
        (Path("/dev/random"), "a character device"),
        (tmp_path / ("n" * 300), "cannot be opened"),
        (tmp_path / "nul\0byte", "cannot be opened"),
    ):
        with pytest.raises(ModelFormatError, match=match):
            read_gguf(path)
    with pytest.raises(ModelNotFound, match="no such file"):
        read_gguf(tmp_path / "absent.gguf")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(ModelFormatError, match="cannot be opened"):
        read_gguf(loop)


@pytest.mark.fault("F20")
def test_an_unreadable_file_is_named() -> None:
    # Not in tmp_path, whose folders are closed to others: this is about the file.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        path = write(folder, tiny_llama().build())
        path.chmod(0)
        owner = os.geteuid()
        # Root may read everything, so root tries as nobody.
        os.seteuid(65534 if owner == 0 else owner)
        try:
            with pytest.raises(ModelFormatError, match="Permission denied"):
                read_gguf(path)
        finally:
            os.seteuid(owner)


@pytest.mark.fault("F21")
def test_a_file_replaced_while_open_stays_as_it_was(tmp_path: Path) -> None:
    """A file that is renamed over keeps its old bytes for those who have it open."""
    model = tiny_llama()
    file = read_gguf(write(tmp_path, model.build()))
    other = tmp_path / "other"
    other.write_bytes(bytes(10))
    other.replace(tmp_path / "model.gguf")
    assert file.array("output_norm.weight").tobytes() == model.tensor("output_norm.weight").data


def test_refusals_close_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, lying(lambda g: setattr(g.tensors[2], "type", 99)))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with pytest.raises(UnsupportedModel):
            read_gguf(path)
    assert len(os.listdir("/proc/self/fd")) == before
