"""Models in several GGUF files are read as one; what does not belong together is named."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from cactus.errors import ModelFormatError
from cactus.weights import locate
from cactus.weights.convert import convert
from cactus.weights.resolve import resolve
from cactus.weights.sources.gguf.read import read_gguf
from tests.models import golden
from tests.weights.converter import write_gguf
from tests.weights.forge import I32, STRING, U16, Forge, parts_of, tiny_llama
from tests.weights.made import write

NAMES = [f"model-{number:05d}-of-00003.gguf" for number in (1, 2, 3)]


def write_parts(folder: Path, parts: list[Forge]) -> Path:
    """The files; returns the first."""
    for part, name in zip(parts, NAMES, strict=True):
        write(folder, part, name)
    return folder / NAMES[0]


def test_parts_are_read_as_one(tmp_path: Path) -> None:
    whole = convert(write(tmp_path, tiny_llama()), tmp_path / "whole").target
    first = write_parts(tmp_path, parts_of(tiny_llama()))
    before = len(os.listdir("/proc/self/fd"))
    joined = convert(first, tmp_path / "joined").target
    assert len(os.listdir("/proc/self/fd")) == before
    for name in ("model.safetensors", "tokenizer.json", "generation_config.json"):
        assert (joined / name).read_bytes() == (whole / name).read_bytes()
    source = locate.describe(joined)["source"]
    assert [source["file"], *(part["file"] for part in source["parts"])] == NAMES


def test_parts_that_the_format_s_own_writer_made(tmp_path: Path) -> None:
    """The `gguf` package writes them, as llama.cpp's converter does."""
    checkpoint = golden.load("llama")
    write_gguf(tmp_path / "whole.gguf", checkpoint, "F16")
    reader = gguf.GGUFReader(tmp_path / "whole.gguf")
    writer = gguf.GGUFWriter(tmp_path / "parts.gguf", "llama", split_max_tensors=5)
    for field in list(reader.fields.values())[3:]:
        if field.name != "general.architecture":
            kind, *inner = field.types
            writer.add_key_value(field.name, field.contents(), kind, *inner[:1])
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
    for step in ("header", "kv_data", "tensors"):
        getattr(writer, f"write_{step}_to_file")()
    writer.close()
    files = sorted(tmp_path.glob("parts-*.gguf"))
    assert len(files) > 2
    one, many = read_gguf(tmp_path / "whole.gguf"), read_gguf(files[0])
    try:
        assert one.tensors.keys() == many.tensors.keys()
        for name in one.tensors:
            assert np.array_equal(one.array(name), many.array(name)), name
    finally:
        one.close()
        many.close()


def test_a_replaced_part_is_converted_again(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = write_parts(tmp_path, parts_of(tiny_llama()))
    kept = resolve(first)
    data = (kept / "model.safetensors").read_bytes()
    assert resolve(first, lambda *_: pytest.fail("converted again")) == kept
    parts = parts_of(tiny_llama())
    parts[2].tensors[-1].data = bytes(len(parts[2].tensors[-1].data))
    write_parts(tmp_path, parts)
    assert (resolve(first) / "model.safetensors").read_bytes() != data


def test_parts_behind_links_are_found_by_the_links_names(tmp_path: Path, monkeypatch: Any) -> None:
    """As in the hub's cache, where files are named by their digests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_parts(tmp_path, parts_of(tiny_llama()))
    (tmp_path / "blobs").mkdir()
    for index, name in enumerate(NAMES):
        (tmp_path / name).rename(tmp_path / "blobs" / f"digest{index}")
        (tmp_path / name).symlink_to(tmp_path / "blobs" / f"digest{index}")
    kept = resolve(tmp_path / NAMES[0])
    assert resolve(tmp_path / NAMES[0], lambda *_: pytest.fail("again")) == kept


def drop(*names: str) -> Callable[[Path, list[Forge]], None]:
    def damage(folder: Path, parts: list[Forge]) -> None:
        for name in names:
            (folder / name).unlink()

    return damage


def swap(folder: Path, parts: list[Forge]) -> None:
    shutil.copy(folder / NAMES[1], folder / NAMES[2])


def change(number: int, key: str, kind: int, value: Any) -> Callable[[Path, list[Forge]], None]:
    def damage(folder: Path, parts: list[Forge]) -> None:
        parts[number].set(key, kind, value)
        write_parts(folder, parts)

    return damage


def repeat(folder: Path, parts: list[Forge]) -> None:
    parts[2].tensors.append(parts[1].tensors[0])
    write_parts(folder, parts)


def shorten(folder: Path, parts: list[Forge]) -> None:
    parts[2].tensors.pop()
    write_parts(folder, parts)


def cut(folder: Path, parts: list[Forge]) -> None:
    os.truncate(folder / NAMES[1], (folder / NAMES[1]).stat().st_size - 64)


@pytest.mark.fault("F14")
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (drop(NAMES[1]), rf"the first of 3 parts, and {NAMES[1]} is missing; put all parts"),
        (drop(*NAMES[1:]), rf"{NAMES[1]}, {NAMES[2]} are missing"),
        (swap, rf"{NAMES[2]}: split\.no is 1, expected 2; it is a part of another model"),
        (change(1, "split.count", U16, 4), rf"{NAMES[1]}: split\.count is 4, expected 3"),
        (change(1, "split.no", STRING, "x"), r"split\.no is 'x', expected 1"),
        (repeat, rf"is in {NAMES[2]} and in a part before it; they are not of one model"),
        (shorten, r"split\.tensors\.count is 20, but the 3 parts have 19 tensors"),
        (change(0, "split.tensors.count", I32, 7), "but the 3 parts have 20 tensors"),
        (change(0, "split.count", U16, 1001), r"split\.count is 1001, expected a number of parts"),
        (change(0, "split.no", U16, 1), rf"split\.no 1 of 3; give the first, {NAMES[0]}"),
        (cut, rf"{NAMES[1]}: tensor .* is truncated or lies"),
    ],
)
def test_parts_that_are_missing_or_of_another_model_are_named(
    damage: Any, said: str, tmp_path: Path
) -> None:
    parts = parts_of(tiny_llama())
    first = write_parts(tmp_path, parts)
    damage(tmp_path, parts)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ModelFormatError, match=said):
        read_gguf(first)
    assert len(os.listdir("/proc/self/fd")) == before


def test_another_part_says_which_is_the_first(tmp_path: Path) -> None:
    write_parts(tmp_path, parts_of(tiny_llama()))
    with pytest.raises(ModelFormatError, match=rf"split\.no 1 of 3; give the first, {NAMES[0]}"):
        read_gguf(tmp_path / NAMES[1])


@pytest.mark.fault("F20")
def test_a_pipe_in_the_place_of_a_part_is_not_waited_for(tmp_path: Path) -> None:
    first = write_parts(tmp_path, parts_of(tiny_llama()))
    (tmp_path / NAMES[1]).unlink()
    os.mkfifo(tmp_path / NAMES[1])
    with pytest.raises(ModelFormatError, match="is a named pipe"):
        read_gguf(first)
