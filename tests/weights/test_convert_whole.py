"""Conversion is whole or not at all: crashes, full disks, targets, memory."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from cactus.errors import (
    CactusError,
    InvalidRequest,
    ModelNotFound,
)
from cactus.weights.convert import convert
from cactus.weights.format.folder import WeightsFolder
from cactus.weights.format.safetensors import SafetensorsWriter
from tests.weights.forge import TYPES, tiny_llama
from tests.weights.made import small_checkpoint, tree, values_of, write, write_checkpoint

_NAMES = {number: name for name, (number, _, _) in TYPES.items()}


# Whole or not at all


@pytest.mark.fault("F21")
def test_an_older_folder_is_replaced_and_its_readers_go_on(tmp_path: Path) -> None:
    old, new = tiny_llama(), tiny_llama()
    new.tensors[0].data = bytes(len(new.tensors[0].data))
    convert(write(tmp_path, old), tmp_path / "out")
    reader = WeightsFolder.open(tmp_path / "out")
    (tmp_path / "out" / "leftover").write_text("x")
    convert(write(tmp_path, new), tmp_path / "out")
    name = "model.embed_tokens.weight"
    assert np.array_equal(reader.dequantize(name), values_of(old, "token_embd.weight"))
    with WeightsFolder.open(tmp_path / "out") as folder:
        assert not folder.dequantize(name).any()
    assert "leftover" not in tree(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.gguf", "out"]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    convert(write(tmp_path, tiny_llama()), tmp_path / "out")
    WeightsFolder.open(tmp_path / "out").close()


def test_anything_else_is_not_overwritten(tmp_path: Path) -> None:
    source = write(tmp_path, tiny_llama())
    folder, file, link = tmp_path / "folder", tmp_path / "file", tmp_path / "link"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    file.write_text("text")
    link.symlink_to(folder)
    for target in (folder, file, link):
        with pytest.raises(InvalidRequest, match="choose another target"):
            convert(source, target)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InvalidRequest, match="not a weights folder"):
        convert(source, folder)
    assert (folder / "thesis.txt").read_text() == "years of work"


@pytest.mark.fault("F66")
def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    source = write(tmp_path, tiny_llama())

    class Stop(Exception):
        pass

    def stop(label: str, done: int, total: int) -> None:
        if done > total // 2:
            raise Stop

    with pytest.raises(Stop):
        convert(source, tmp_path / "out", None, stop)
    assert tree(tmp_path) == ["model.gguf"]

    def broken_pipe(*_: object) -> None:
        raise BrokenPipeError("of the caller")

    with pytest.raises(BrokenPipeError, match="of the caller"):
        convert(source, tmp_path / "out", None, broken_pipe)
    assert tree(tmp_path) == ["model.gguf"]
    convert(source, tmp_path / "out")
    before = (tmp_path / "out" / "model.safetensors").stat().st_ino
    with pytest.raises(Stop):
        convert(source, tmp_path / "out", None, stop)
    assert (tmp_path / "out" / "model.safetensors").stat().st_ino == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.gguf", "out"]


@pytest.mark.fault("F66")
def test_a_crash_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    """The process dies in the middle; the next conversion also removes what it left."""
    source = write(tmp_path, tiny_llama())
    code = f"""
        import os
        from cactus.weights.convert import convert

        def die(label, done, total):
            if done > total // 2:
                os._exit(7)

        convert({str(source)!r}, {str(tmp_path / "out")!r}, None, die)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    assert run.returncode == 7
    left = [path.name for path in tmp_path.iterdir() if path.name != "model.gguf"]
    assert len(left) == 1
    assert left[0].startswith(".out.partial-")
    convert(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.gguf", "out"]


@pytest.mark.fault("F65", "F66")
def test_a_half_conversion_that_could_not_be_removed_is_removed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path, tiny_llama())

    def fail(label: str, done: int, total: int) -> None:
        raise OSError(errno.EIO, "the disk does not answer")

    with monkeypatch.context() as disk:
        # What a folder whose disk does not answer comes to: nothing of it can be removed.
        disk.setattr(shutil, "rmtree", lambda path, ignore_errors: None)
        with pytest.raises(OSError, match="does not answer"):
            convert(source, tmp_path / "out", None, fail)
    assert len(tree(tmp_path)) > 1
    convert(source, tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.gguf", "other"]


def test_conversions_at_the_same_time_leave_each_other_alone(tmp_path: Path) -> None:
    source, inner = write(tmp_path, tiny_llama()), []

    def convert_another(label: str, done: int, total: int) -> None:
        if not inner:
            inner.append(convert(source, tmp_path / "other"))

    convert(source, tmp_path / "out", None, convert_another)
    assert tree(tmp_path / "out") == tree(tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.gguf", "other", "out"]


def test_bad_arguments(tmp_path: Path) -> None:
    source = write(tmp_path, tiny_llama())
    for precision in ("int4", "INT3", "", "Q4_0"):
        with pytest.raises(InvalidRequest, match=r"precision is .*INT4, INT8, FP16, FP32"):
            convert(source, tmp_path / "out", precision)
    with pytest.raises(ModelNotFound, match="no such file or folder"):
        convert(tmp_path / "absent.gguf", tmp_path / "out")
    bad = tiny_llama()
    bad.set("tokenizer.ggml.model", 8, "abacus")
    with pytest.raises(CactusError, match=r"tokenizer\.ggml\.model"):
        convert(write(tmp_path, bad), tmp_path / "out")
    assert tree(tmp_path) == ["model.gguf"]


def test_files_are_closed(tmp_path: Path) -> None:
    source = write(tmp_path, tiny_llama())
    convert(source, tmp_path / "out")
    before = len(os.listdir("/proc/self/fd"))
    for precision in (None, "INT8", "bad"):
        try:
            convert(source, tmp_path / "out", precision)
        except InvalidRequest:
            assert precision == "bad"
    assert len(os.listdir("/proc/self/fd")) == before


def test_memory_does_not_grow_with_the_tensor(tmp_path: Path) -> None:
    """A matrix of 128 MB as f32 is converted in far less."""
    config, tensors = small_checkpoint()
    config["vocab_size"] = 1 << 20
    tensors["model.embed_tokens.weight"] = np.ones((1 << 20, 32), np.float16)
    write_checkpoint(tmp_path / "hf", config, tensors)
    del tensors
    tracemalloc.start()
    try:
        convert(tmp_path / "hf", tmp_path / "out", "INT8")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 << 20


def test_a_target_that_cannot_be_written(tmp_path: Path) -> None:
    source = write(tmp_path, tiny_llama())
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidRequest, match="out: cannot be written"):
        convert(source, tmp_path / "file" / "out")
    with pytest.raises(InvalidRequest, match="cannot be written"):
        convert(source, tmp_path / ("n" * 300))
    assert tree(tmp_path) == ["file", "model.gguf"]


@pytest.mark.fault("F65")
def test_too_little_room_is_noticed_before_weights_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path, tiny_llama())
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=20_000))
    steps: list[str] = []
    with pytest.raises(CactusError, match=r"0\.1 MB are needed and 0\.0 MB are free; nothing was"):
        convert(source, tmp_path / "out", "FP32", lambda label, *_: steps.append(label))
    assert tree(tmp_path) == ["model.gguf"] and not steps


@pytest.mark.fault("F65")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    source = write(tmp_path, tiny_llama())
    convert(source, tmp_path / "out")
    before = tree(tmp_path / "out")

    def fill(self: SafetensorsWriter, data: bytes) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(SafetensorsWriter, "write", fill)
    with pytest.raises(
        CactusError, match=r"the disk is full: 0\.\d MB are needed and [\d,.]+ MB are"
    ):
        convert(source, tmp_path / "out", "FP32")
    assert tree(tmp_path / "out") == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model.gguf", "out"]


@pytest.mark.fault("F65")
@pytest.mark.parametrize("limit", [1, 5000, 20000])
def test_a_full_disk(tmp_path: Path, limit: int) -> None:
    """A write fails in the middle: an error that says so, and nothing is left."""
    source = write(tmp_path, tiny_llama())
    code = f"""
        import resource
        from cactus.errors import InvalidRequest
        from cactus.weights.convert import convert

        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        try:
            convert({str(source)!r}, {str(tmp_path / "out")!r})
        except InvalidRequest as error:
            assert "cannot be written" in str(error), error
            raise SystemExit(7)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], check=False, capture_output=True, text=True
    )
    assert run.returncode == 7, run.stderr
    assert tree(tmp_path) == ["model.gguf"]
