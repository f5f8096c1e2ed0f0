"""`cactus run --image`: one answer about images, and what is said where that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from cactus.cli.main import run_cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs `cactus run` in a folder with cat.png."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path / "weights"))
    Image.new("RGB", (40, 30), "red").save("cat.png")

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        status = run_cli(["run", *map(str, arguments)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_a_file_that_is_no_image_is_named_before_a_model_is_looked_for(run: Run) -> None:
    Path("notes.txt").write_text("notes")
    assert run("-i", "none.png", "-p", "What?") == (1, "", 'cactus: "none.png": no such file\n')
    status, _, err = run("no-such-model", "--image", "notes.txt", "-p", "What?")
    assert status == 1 and '"notes.txt" is text' in err and "supported are PNG" in err
    status, _, err = run("-i", "https://example.org/cat.png", "-p", "What?")
    assert status == 1 and "download it first" in err


def test_a_model_that_cannot_see_is_refused_with_those_that_can(run: Run, tiny_model: Path) -> None:
    status, out, err = run(tiny_model, "--image", "cat.png", "-p", "What?")
    assert (status, out) == (1, "")
    assert "(llama) cannot look at images: it can chat" in err
    assert "models that look at images: lfm2-vl-450m" in err


def test_without_a_model_one_that_sees_is_wanted(run: Run) -> None:
    status, _, err = run("--offline", "--image", "cat.png", "What is this?")
    assert status == 1 and "LiquidAI/LFM2-VL-450M is not on this machine" in err
