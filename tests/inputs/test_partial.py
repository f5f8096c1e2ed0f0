"""What is made under another name is removed: by whom it is, or by whoever comes next."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cactus.inputs import partial
from cactus.inputs.files import replace_file
from cactus.weights.format.safetensors import write_safetensors

DIES = """
import os, sys
from pathlib import Path
from cactus.inputs.files import replace_file
os.replace = lambda *_: os._exit(7)
replace_file(Path(sys.argv[1]), b"half")
"""


def ended() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_a_process_is_asked_for_without_disturbing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert partial.is_running(os.getpid()) and not partial.is_running(ended())
    assert not partial.is_running(1 << 80)
    asked: list[object] = []
    # On Windows os.kill with 0 presses Ctrl-C in the console of the process.
    windows = SimpleNamespace(name="nt", kill=lambda *given: asked.append(given))
    monkeypatch.setattr(partial, "os", windows)
    assert partial.is_running(1) and not asked


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.fault("F66")
def test_a_file_that_was_never_whole_goes_when_another_is_written(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", DIES, str(tmp_path / "lost")], check=False)
    assert run.returncode == 7 and len(left(tmp_path)) == 1
    replace_file(tmp_path / "kept", b"whole")
    assert left(tmp_path) == ["kept"]


@pytest.mark.fault("F65")
@pytest.mark.parametrize("kind", ["file", "tensors"])
def test_what_could_not_be_removed_goes_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def write(path: Path) -> None:
        replace_file(path, b"whole") if kind == "file" else write_safetensors(path, {})

    def failing(*_: object, **__: object) -> None:
        raise OSError(5, "the disk does not answer")

    write(tmp_path / "first")  # the folder has been looked through
    with monkeypatch.context() as disk:
        disk.setattr(os, "replace", failing)
        disk.setattr(Path, "unlink", failing)
        with pytest.raises(OSError, match="does not answer"):
            write(tmp_path / "second")
    assert len(left(tmp_path)) == 2
    write(tmp_path / "third")
    assert left(tmp_path) == ["first", "third"]


def test_only_what_nobody_holds_is_swept(tmp_path: Path) -> None:
    path, own = tmp_path / "model", os.getpid()
    held = partial.begin(path)
    held.mkdir()
    _, _, rest = held.name.partition(".partial-")
    machine = rest.partition("-")[0]
    running = tmp_path / f".model.partial-{machine}-{os.getppid()}-0123abcd"
    elsewhere = tmp_path / f".model.partial-{'0' * 8}-{own}-0123abcd"
    gone = tmp_path / f".model.old-{machine}-{ended()}-0123abcd"
    stayed = tmp_path / f".model.partial-{machine}-{own}-0123abcd"
    others = [tmp_path / name for name in (".model", ".model.partial-1", "model.partial")]
    for each in (running, elsewhere, gone, stayed, *others):
        each.mkdir()
        (each / "file").touch()
    partial.sweep(tmp_path)
    assert left(tmp_path) == sorted(each.name for each in (held, running, elsewhere, *others))
    partial.end(held)
    assert not held.exists()


def test_a_name_as_long_as_a_file_may_have_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    replace_file(path, b"whole")
    assert left(tmp_path) == [path.name]
