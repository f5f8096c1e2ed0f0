"""`cactus describe` with a model that says what it is shown: files, formats, what goes wrong."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image

from cactus.cli.main import run_cli
from cactus.errors import InvalidImage
from tests.cli.fake_chat import EchoModel, EchoStream
from tests.images.made import video
from tests.images.test_pages import document

Run = Callable[..., tuple[int, str, str]]


class Stopped(EchoStream):
    """Ctrl-C is pressed while it looks at an image of 77 columns."""

    def __enter__(self):
        super().__enter__()
        if "(77" in self.says:
            os.kill(os.getpid(), signal.SIGINT)
        return self


class Seer(EchoModel):
    """Says what it is asked and the sizes of the images; refuses those that are 99 wide."""

    shown: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, folder: Path, **_options) -> None:
        self.folder = folder

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def stream(self, messages, **options) -> EchoStream:
        self.shown.append(options)
        if messages[0]["images"][0].width == 99:
            raise InvalidImage("it is 99 pixels wide")
        return Stopped(self, messages, options)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setattr("cactus.model.Model", Seer)
    monkeypatch.setattr("cactus.cli.models.find_or_fetch", lambda name, **_: Path(name))
    monkeypatch.setattr(Seer, "shown", [])
    monkeypatch.chdir(tmp_path)
    for name, width in (("cat.png", 40), ("dog.png", 20), ("odd.png", 99), ("end.png", 77)):
        Image.new("RGB", (width, 10)).save(name)
    Path("notes.txt").write_text("notes")

    def call(*arguments: str) -> tuple[int, str, str]:
        status = run_cli(["describe", *arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_one_image_is_its_text_alone(run: Run) -> None:
    status, out, err = run("cat.png")
    assert (status, out) == (0, "['Describe this image.'] sees [(40, 10)]\n")
    assert err.startswith("[cat.png: 0 tiles and 7 tokens in ") and err.count("\n") == 1
    assert run("cat.png", "-q", "--prompt", "What?")[1:] == ("['What?'] sees [(40, 10)]\n", "")


def test_several_texts_have_titles_and_json_is_a_line_for_each(run: Run) -> None:
    status, out, _ = run("cat.png", "dog.png", "-q")
    assert status == 0 and out.splitlines()[:3] == [
        "==> cat.png <==", "['Describe this image.'] sees [(40, 10)]", "",
    ]  # fmt: skip
    status, out, err = run("cat.png", "dog.png", "-q", "--format", "json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert rows[1] == {
        "file": "dog.png", "text": "['Describe this image.'] sees [(20, 10)]", "width": 20,
        "height": 10, "tiles": 0, "image_tokens": 0, "finish_reason": "stop",
    }  # fmt: skip


def test_a_bad_file_is_reported_and_the_others_go_on(run: Run) -> None:
    files = ("none.png", "cat.png", "notes.txt", "odd.png", "dog.png")
    status, out, err = run(*files, "-q", "--format", "json")
    assert status == 1
    assert [json.loads(line)["file"] for line in out.splitlines()] == ["cat.png", "dog.png"]
    assert '"none.png": no such file' in err and '"notes.txt" is text' in err
    assert "cactus: odd.png: it is 99 pixels wide" in err
    assert run("none.png")[0] == 1 and len(Seer.shown) == 3  # and no model is asked


def test_each_text_goes_to_a_file_of_its_own(run: Run) -> None:
    status, out, err = run("cat.png", "dog.png", "-q", "--output", "texts")
    assert (status, out, err) == (0, "texts/cat.txt\ntexts/dog.txt\n", "")
    assert Path("texts/cat.txt").read_text() == "['Describe this image.'] sees [(40, 10)]\n"
    Path("more").mkdir()
    Image.new("RGB", (5, 5)).save("more/cat.png")
    status, _, err = run("cat.png", "more/cat.png", "--output", "texts")
    assert status == 2 and "is for cat.png already" in err


def test_options_reach_the_model(run: Run) -> None:
    assert (
        run("cat.png", "--max-tiles", "1", "--max-image-tokens", "64", "--max-tokens", "9")[0] == 0
    )
    (options,) = Seer.shown
    assert options.pop("image_progress")
    assert options == {
        "max_tiles": 1, "max_image_tokens": 64, "max_tokens": 9, "stop_loops": True,
    }  # fmt: skip
    assert run("cat.png", "--max-tiles", "0")[0] == 2 and run()[0] == 2


def test_ctrl_c_ends_it_with_what_is_there(run: Run) -> None:
    status, out, _ = run("cat.png", "end.png", "dog.png", "--output", "texts")
    assert (status, out) == (130, "texts/cat.txt\n")
    status, out, err = run("end.png", "dog.png")
    assert status == 130 and "dog.png" not in out and "; stopped]" in err


def test_the_pages_of_a_pdf_are_images_of_their_own(run: Run) -> None:
    Path("paper.pdf").write_bytes(document((20, 10), (30, 10), (40, 10)))
    status, out, _ = run("paper.pdf", "-q")
    assert status == 0
    assert [line for line in out.splitlines() if line.startswith("==>")] == [
        f"==> paper.pdf#{page} <==" for page in (1, 2, 3)
    ]
    status, out, err = run("paper.pdf#2-3", "cat.png", "-q", "--output", "texts")
    assert out.splitlines() == ["texts/paper-2.txt", "texts/paper-3.txt", "texts/cat.txt"]
    assert "(60, 20)" in Path("texts/paper-2.txt").read_text()
    assert "(40, 20)" in run("paper.pdf#1", "-q")[1]
    status, out, err = run("paper.pdf#4", "-q")
    assert (status, out) == (1, "") and "paper.pdf has pages 1 to 3" in err


def test_a_long_pdf_wants_its_pages_named(run: Run) -> None:
    Path("long.pdf").write_bytes(document(*[(10, 10)] * 21))
    status, _, err = run("long.pdf", "-q")
    assert status == 1 and "21 pages" in err and "long.pdf#1-20" in err


def test_a_video_is_described_frame_by_frame(run: Run) -> None:
    Path("clip.mp4").write_bytes(video(5))
    status, out, err = run("clip.mp4", "--frames", "2", "--format", "json")
    assert status == 0
    assert [json.loads(line)["file"] for line in out.splitlines()] == [
        "clip.mp4#0s", "clip.mp4#2.5s",
    ]  # fmt: skip
    assert err.startswith("[clip.mp4: 2 frames of the video, at 0, 2.5 s]\n")
    status, out, err = run("clip.mp4#1-3s", "clip.mp4#4.5s", "-q", "--output", "texts")
    assert (status, err) == (0, "")
    assert out.split() == [f"texts/clip-{second}s.txt" for second in ("1", "2", "3", "4.5")]
    status, out, err = run("clip.mp4#7s", "-q")
    assert (status, out) == (1, "") and "has no frame at 7 s: its last is at 4.9 s" in err


def test_a_video_without_what_reads_videos_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("clip.MOV").write_bytes(video(1, "mov"))
    monkeypatch.setitem(sys.modules, "av", None)
    status, _, err = run("clip.MOV")
    assert status == 1
    assert err == (
        'cactus: "clip.MOV" is a video, and the package that reads those is missing: '
        "pip install 'cactus[av]'\n"
    )
