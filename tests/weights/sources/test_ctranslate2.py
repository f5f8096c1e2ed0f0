"""The reader of CTranslate2's model.bin: round trips, and what files can lie about."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cactus.errors import CactusError, ModelFormatError, ModelNotFound, UnsupportedModel
from cactus.weights.sources.ctranslate2 import MAX_VARIABLES, is_ctranslate2, read_ctranslate2
from tests.weights import ct2
from tests.weights.ct2 import Bin, Entry


def small() -> Bin:
    model = Bin(aliases=[(b"other", b"a")])
    model.add("a", "float16", np.arange(6).reshape(2, 3))
    model.add("scalar", "int8", -3)
    model.add("b", "int16", np.arange(4))
    return model


def write(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    return path


def refuse(
    tmp_path: Path, model: Bin | bytes, match: str, kind: type[CactusError] = ModelFormatError
) -> None:
    path = write(tmp_path, model if isinstance(model, bytes) else model.build())
    with pytest.raises(kind, match=match) as caught:
        read_ctranslate2(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value)) < 800


_names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
_arrays = st.sampled_from(["float32", "int8", "int16", "int32", "float16"]).flatmap(
    lambda kind: hnp.arrays(np.dtype(kind), hnp.array_shapes(min_dims=0, max_dims=4, max_side=6))
)


@given(st.dictionaries(_names.filter(lambda n: len(n.encode()) < 500), _arrays, max_size=6))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, Any]) -> None:
    model = Bin()
    for name, array in arrays.items():
        model.add(name, array.dtype.name, array)
    path = write(tmp_path_factory.getbasetemp(), model.build())
    file = read_ctranslate2(path)
    assert (file.spec, file.revision) == ("WhisperSpec", 3)
    assert list(file.variables) == list(arrays)
    for name, array in arrays.items():
        variable = file.variables[name]
        assert (variable.type, variable.shape) == (array.dtype.name, array.shape)
        rows = math.prod(array.shape[:-1])
        assert file.rows(name, 0, rows).tobytes() == array.tobytes()
        if rows > 1:
            flat = array.reshape(rows, -1)
            assert file.rows(name, 1, 2).tobytes() == flat[1].tobytes()
    file.close()


def test_aliases_and_rows(tmp_path: Path) -> None:
    file = read_ctranslate2(write(tmp_path, small().build()))
    assert file.variables["other"] == file.variables["a"]
    assert file.rows("other", 1, 2).view("<f2").tolist() == [[3, 4, 5]]
    for start, stop in ((-1, 1), (0, 3), (2, 1)):
        with pytest.raises(ValueError, match="of 2"):
            file.rows("a", start, stop)
    file.close()
    file.close()


@pytest.mark.parametrize("version", [4, 5, 6])
def test_versions_that_are_read(tmp_path: Path, version: int) -> None:
    model = small()
    model.version = version
    assert read_ctranslate2(write(tmp_path, model.build())).variables["b"].shape == (4,)


@pytest.mark.parametrize("version", [0, 1, 3, 7, 2**32 - 1])
def test_versions_that_are_not(tmp_path: Path, version: int) -> None:
    model = small()
    model.version = version
    refuse(tmp_path, model, f"version is {version}, expected 4 to 6", UnsupportedModel)


@pytest.mark.fault("F11")
def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = small().build()
    for size in range(len(data)):
        refuse(tmp_path, data[:size], "left|ends|needs|expected")
    refuse(tmp_path, data + b"\0", "1 bytes follow the aliases")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        read_ctranslate2(tmp_path / "model.bin")
    with pytest.raises(ModelFormatError, match="is a directory"):
        read_ctranslate2(tmp_path)


@pytest.mark.fault("F02")
@pytest.mark.parametrize("count", [4, 100, MAX_VARIABLES + 1, 2**31, 2**32 - 1])
def test_counts_are_compared_with_what_is_left(tmp_path: Path, count: int) -> None:
    model = small()
    model.entry_count = count
    refuse(tmp_path, model, "number of variables is|needs|bytes, expected|expected")
    model = small()
    model.alias_count = count
    refuse(tmp_path, model, "number of aliases is|needs")


@pytest.mark.fault("F13")
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"rank": 5}, "has the rank 5, expected 0 to 4"),
        ({"rank": 255}, "has the rank 255"),
        ({"dims": [2, 0]}, r"is empty: shape \[2, 0\]"),
        ({"dims": [2, 4]}, r"has 12 bytes, but float16 \[2, 4\] needs 16"),
        ({"dims": [2**32 - 1, 2**32 - 1]}, "has 12 bytes, but float16"),
        ({"type": 6}, "has the unknown type 6"),
        ({"type": 255}, "has the unknown type 255"),
        ({"type": 0}, r"has 12 bytes, but float32 \[2, 3\] needs 24"),
        ({"nbytes": 2**32 - 1}, "has 4294967295 bytes, but"),
        ({"name": b""}, "has 1 bytes, expected 2 to 512"),
        ({"name": b"x" * 512}, "has 513 bytes, expected"),
        ({"name": b"a\0b"}, "does not end in its only NUL"),
        ({"name": b"\xff\xfe"}, "is not UTF-8"),
        ({"name": b"b"}, "variable 'b' at byte .* occurs twice"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_variable_that_lies(tmp_path: Path, change: dict[str, Any], match: str) -> None:
    model = small()
    for key, value in change.items():
        setattr(model.entries[0], key, value)
    refuse(tmp_path, model, match)


@pytest.mark.fault("F13")
def test_more_data_than_the_file_has(tmp_path: Path) -> None:
    model = small()
    model.entries.append(Entry(b"huge", 1, [2**32 - 1], b"x", nbytes=2**32 - 1))
    refuse(tmp_path, model, "data of variable 'huge' at byte .* needs 4294967295 bytes, but")


@pytest.mark.fault("F13")
@pytest.mark.parametrize(
    ("alias", "match"),
    [
        ((b"a", b"b"), "alias 'a' at byte .* occurs twice"),
        ((b"new", b"nothing"), "stands for 'nothing', which is none"),
        ((b"new", b"new"), "stands for 'new', which is none"),
    ],
)
def test_an_alias_that_lies(tmp_path: Path, alias: tuple[bytes, bytes], match: str) -> None:
    model = small()
    model.aliases.append(alias)
    refuse(tmp_path, model, match)


@pytest.mark.fault("F15")
def test_a_folder_is_told_from_one_of_pickles(tmp_path: Path) -> None:
    for data in (b"", b"PK\x03\x04" + bytes(99), b"\x80\x02}q\x00." + bytes(99), bytes(99)):
        write(tmp_path, data)
        assert not is_ctranslate2(tmp_path)
    write(tmp_path, small().build())
    assert is_ctranslate2(tmp_path)
    assert not is_ctranslate2(tmp_path / "nothing")
    assert struct.unpack("<I", ct2.Bin().build()[:4]) == (6,)
