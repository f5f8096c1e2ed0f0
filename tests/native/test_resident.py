"""Weights that are copied into memory: nothing that happens to their file matters any more."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cactus import Model
from cactus.cli import measure
from cactus.cli.main import run_cli
from cactus.errors import InvalidRequest, ModelFormatError
from cactus.graph.plan import Plan
from cactus.native import Program
from tests.models import golden
from tests.native import programs
from tests.native.conftest import Packed


@pytest.fixture
def plan(packed: Packed) -> Plan:
    return programs.plan_of(programs.fused(golden.load("lfm2").graph, "q4"), packed("lfm2", "q4"))


@pytest.mark.fault("F11")
@pytest.mark.parametrize("fate", ["truncated", "overwritten", "removed"])
def test_a_copy_does_not_need_its_file(
    plan: Plan, packed: Packed, tmp_path: Path, fate: str
) -> None:
    path = tmp_path / "weights"
    shutil.copy(packed("lfm2", "q4").path, path)
    with Program(plan.blob, path) as mapped:
        want = programs.prefill(mapped, mapped.session(), [1, 2, 3, 4], 3)
    with Program(plan.blob, path, resident=True) as program:
        if fate == "truncated":
            os.truncate(path, 100)
        elif fate == "overwritten":
            path.write_bytes(os.urandom(path.stat().st_size))
        else:
            path.unlink()
        got = programs.prefill(program, program.session(), [1, 2, 3, 4], 3)
    np.testing.assert_array_equal(got, want)


def test_a_copy_leaves_no_file_open_and_no_memory_behind(plan: Plan, packed: Packed) -> None:
    path = packed("lfm2", "q4").path
    descriptors = len(os.listdir("/proc/self/fd"))
    with Program(plan.blob, path, resident=True):
        assert len(os.listdir("/proc/self/fd")) == descriptors
        assert str(path) not in Path("/proc/self/maps").read_text()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    for _ in range(50):
        Program(plan.blob, path, resident=True).close()
    grown = int(Path("/proc/self/statm").read_text().split()[0]) - pages
    assert grown * resource.getpagesize() < 20 * path.stat().st_size


@pytest.mark.fault("F56")
def test_no_memory_for_a_copy_is_an_error(plan: Plan, tmp_path: Path) -> None:
    """Of a file that says more than any machine has."""
    path = tmp_path / "weights"
    with path.open("wb") as file:
        file.truncate(1 << 43)
    code = (
        "import sys\nfrom cactus.errors import InsufficientMemory\n"
        "from cactus.native import Program\n"
        "try: Program(open(sys.argv[1], 'rb').read(), sys.argv[2], resident=True)\n"
        "except InsufficientMemory as error: print(error)"
    )
    (tmp_path / "plan").write_bytes(plan.blob)
    command = [sys.executable, "-c", code, str(tmp_path / "plan"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "the weights take 8388608.0 MiB" in done.stdout, done.stderr


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "empty"])
def test_what_is_no_weights_file(plan: Plan, tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "empty":
        path.touch()
    with pytest.raises(ModelFormatError, match=str(path)):
        Program(plan.blob, path, resident=True)


@pytest.mark.parametrize("resident", ["yes", None, 2])
def test_resident_is_yes_or_no(resident: object) -> None:
    with pytest.raises(InvalidRequest, match="resident must be True or False"):
        Model("no-such-model", resident=resident)  # type: ignore[arg-type]


@pytest.mark.fault("F11")
def test_a_model_outlives_its_folder(starter_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "starter"
    shutil.copytree(starter_folder, folder)
    messages = [{"role": "user", "content": "Hi"}]
    with Model(folder, threads=1, resident=True) as model:
        os.truncate(folder / "model.safetensors", 100)
        answer = model.chat(messages, max_tokens=4).text
    with Model(starter_folder, threads=1) as model:
        assert model.chat(messages, max_tokens=4).text == answer


def test_a_speech_model_reads_its_weights_once(speech_folder: Path) -> None:
    """Its two programs share the copy."""

    def private() -> int:
        text = Path("/proc/self/smaps_rollup").read_text()
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Private"))

    size = (speech_folder / "model.safetensors").stat().st_size // 1024
    before = private()
    with Model(speech_folder, threads=1, resident=True):
        assert private() - before < 1.5 * size + (64 << 10)


@pytest.mark.parametrize(
    "command",
    [["run", "-p", "hi", "--max-tokens", "1"], ["bench", "--prompt", "8", "--tokens", "1"]],
)
def test_commands_copy_weights_where_they_are_told_to(
    command: list[str], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = []

    class Looked(Program):
        def close(self) -> None:
            mapped.append(str(tiny_model) in Path("/proc/self/maps").read_text())
            super().close()

    monkeypatch.setattr("cactus.native.Program", Looked)
    monkeypatch.setattr(measure, "BUFFER_BYTES", 1 << 20)
    for option in ((), ("--resident",)):
        assert run_cli([command[0], str(tiny_model), *command[1:], "--threads", "1", *option]) == 0
    assert mapped == [True, False]
