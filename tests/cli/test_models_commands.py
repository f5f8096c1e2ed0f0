"""download, convert, list and clean: models as files."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cactus.cli import clean
from cactus.cli.main import run_cli
from cactus.weights import locate


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights root, a cache and a checkout of the test's own."""
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(clean, "ROOT", tmp_path)
    return tmp_path / "weights"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], root: Path):
    def call(*arguments: str) -> tuple[int, str, str]:
        status = run_cli(arguments)
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_convert_prints_the_folder_and_what_was_lost(run, root, tiny_checkpoint: Path) -> None:
    status, out, err = run("convert", str(tiny_checkpoint), "--precision", "int8")
    assert (status, out.strip()) == (0, str(root / "tiny-llama"))
    assert locate.resolve("tiny-llama") == root / "tiny-llama"
    assert ", INT8, " in err and "largest error: " in err and "bits a weight" in err


def test_convert_into_a_folder_that_is_named(run, root, tiny_checkpoint, tmp_path: Path) -> None:
    target = tmp_path / "with space" / "model"
    assert run("convert", str(tiny_checkpoint), str(target))[0] == 0
    assert locate.is_weights_folder(target)


def test_convert_does_not_touch_a_folder_of_something_else(run, tiny_checkpoint, tmp_path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("")
    status, _, err = run("convert", str(tiny_checkpoint), str(tmp_path / "photos"))
    assert status == 1 and "choose another target" in err
    assert (tmp_path / "photos" / "a.jpg").exists()


def test_a_source_whose_name_is_no_model_name_needs_a_directory(
    run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "a name"
    shutil.copytree(tiny_checkpoint, odd)
    status, _, err = run("convert", str(odd))
    assert status == 2 and "give a DIRECTORY" in err


def test_convert_says_what_is_wrong_with_a_file(run, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    status, _, err = run("convert", str(tmp_path / "x.gguf"))
    assert status == 1 and "x.gguf" in err and "Traceback" not in err


def test_list_shows_what_is_here_and_what_could_be(run, root: Path, tiny_model: Path) -> None:
    status, out, _ = run("list")
    assert status == 0 and f"No models yet. They go to {root}" in out
    shutil.copytree(tiny_model, root / "tiny")
    status, out, _ = run("list")
    row = next(line for line in out.splitlines() if line.startswith("tiny"))
    assert row.split() == ["tiny", "llama", "INT8", "0", "MB", str(root / "tiny")]
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in out


def test_list_as_json(run, root: Path, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, root / "tiny")
    answer = json.loads(run("list", "--json")[1])
    (model,) = answer["models"]
    assert model["name"] == "tiny" and model["bytes"] > 10_000
    assert any(entry["id"].startswith("LiquidAI/") for entry in answer["available"])


def test_download_of_a_model_that_is_here_prints_its_folder(run, root, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, root / "tiny")
    assert run("download", "acme/Tiny", "--offline") == (0, f"{root / 'tiny'}\n", "")


def test_clean_keeps_the_models_where_nobody_can_be_asked(root: Path, tiny_model, tmp_path) -> None:
    shutil.copytree(tiny_model, root / "tiny")
    done = subprocess.run(
        [sys.executable, "-m", "cactus.cli.main", "clean", "tiny"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 130 and (root / "tiny").is_dir()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("answer", "kept"), [("n", True), ("", True), ("y", False)])
def test_clean_asks(root: Path, tiny_model: Path, answer: str, kept: bool) -> None:
    shutil.copytree(tiny_model, root / "tiny")
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    done = subprocess.run(
        [sys.executable, "-m", "cactus.cli.main", "clean", "tiny"],
        stdin=theirs, capture_output=True, text=True, check=False,
    )  # fmt: skip
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0 and f"{root / 'tiny'}" in done.stdout
    assert (root / "tiny").is_dir() == kept


def test_clean_deletes_what_can_be_made_again(run, root: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text("")
    leftovers = [
        tmp_path / "build" / "python" / "x.o",
        tmp_path / "cache" / "cactus" / "gguf" / "x" / "model.safetensors",
        root / ".downloads" / "half" / "x.part",
    ]
    stays = [tmp_path / "venv" / "x", tmp_path / "cache" / "other" / "x", root / "notes.txt"]
    for file in (*leftovers, *stays):
        file.parent.mkdir(parents=True) if not file.parent.exists() else None
        file.write_text("x")
    status, out, _ = run("clean")
    assert status == 0 and out.count("deleted") == 3
    assert not any(file.exists() for file in leftovers) and all(file.exists() for file in stays)


def test_clean_of_one_model_leaves_the_others_and_all_else(run, root: Path, tiny_model) -> None:
    for name in ("a", "b"):
        shutil.copytree(tiny_model, root / name)
    (root / ".downloads").mkdir()
    assert run("clean", "a", "--yes")[0] == 0
    assert [path.name for path in sorted(root.iterdir())] == [".downloads", "b"]


def test_clean_unlinks_a_linked_model(run, root: Path, tiny_model: Path) -> None:
    root.mkdir()
    (root / "linked").symlink_to(tiny_model)
    assert run("clean", "linked", "--yes")[0] == 0
    assert not (root / "linked").exists() and (tiny_model / "config.json").exists()
