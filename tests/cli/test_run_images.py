"""`cactus run --image`: one answer about images, and what is said where that cannot be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cactus import Model
from cactus.cli.main import run_cli
from cactus.weights.convert import convert
from tests.images.made import video

Run = Callable[..., tuple[int, str, str]]

SIGHT = Path(__file__).resolve().parents[1] / "golden" / "sight"


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


def test_what_is_meant_as_an_image_is_told_from_a_model_and_a_prompt(
    run: Run, tiny_vlm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = run("cat.png", "What?")
    assert status == 2 and "cat.png is not a model; an image is shown with --image cat.png" in err
    _, _, err = run(tiny_vlm, "--greedy", "--max-tokens", "2", "cat.png", "What?")
    assert "[cat.png is read as text here; --image cat.png shows it]\n" in err
    assert run_cli(["embed", "cat.png"]) == 2
    assert "cat.png is not a file of texts; images need --image" in capsys.readouterr().err
    Path("photos").mkdir()
    status, _, err = run("-i", "photos", "What?")
    assert (status, err) == (
        1, 'cactus: "photos" is a directory; name the images in it, as in photos/*.jpg\n'
    )  # fmt: skip


def test_an_image_that_no_model_can_look_at_is_named(run: Run, tiny_vlm: Path) -> None:
    Image.new("RGB", (6000, 1)).save("line.png")
    status, _, err = run(tiny_vlm, "-i", "cat.png", "-i", "line.png", "-p", "What?")
    assert status == 1 and err.startswith('cactus: "line.png": an image of 6000 x 1 pixels')


def test_a_model_that_cannot_see_is_refused_with_those_that_can(run: Run, tiny_model: Path) -> None:
    status, out, err = run(tiny_model, "--image", "cat.png", "-p", "What?")
    assert (status, out) == (1, "")
    assert "(llama) cannot look at images: it can chat" in err
    assert "models that look at images: lfm2-vl-450m" in err


def test_without_a_model_one_that_sees_is_wanted(run: Run) -> None:
    status, _, err = run("--offline", "--image", "cat.png", "What is this?")
    assert status == 1 and "LiquidAI/LFM2-VL-450M is not on this machine" in err


def test_one_answer_about_images_with_a_real_model(run: Run, tiny_vlm: Path) -> None:
    Image.new("RGB", (30, 60), "blue").save("dog.png")
    asked = (tiny_vlm, "-i", "cat.png", "-i", "dog.png", "--greedy", "--max-tokens", "4", "What?")
    status, out, err = run(*asked)
    assert status == 0 and out.strip()
    assert re.search(r"^\[\d tokens, .* \(2 tiles of images in \d+\.\d s\)", err)
    assert run(*asked, "-q") == (0, out, "")
    images = [str(Path(name).absolute()) for name in ("cat.png", "dog.png")]
    with Model(tiny_vlm) as model:
        messages = [{"role": "user", "content": "What?", "images": images}]
        answer = model.chat(messages, max_tokens=4, stop_loops=True)
    assert answer.text == out.rstrip("\n")


def test_one_answer_about_the_frames_of_a_video(run: Run, tiny_vlm: Path) -> None:
    Path("clip.mp4").write_bytes(video(3))
    asked = (tiny_vlm, "--frames", "2", "--greedy", "--max-tokens", "4", "-p", "What happens?")
    status, out, err = run(*asked, "-i", "clip.mp4")
    assert status == 0 and "(10 tiles of images in " in err
    assert err.startswith("[clip.mp4: 2 frames of the video, at 0, 1.5 s]\n")
    assert run(*asked, "-q", "-i", "clip.mp4#0s", "-i", "clip.mp4#1.5s") == (0, out, "")


def test_a_model_that_was_trained_to_see_answers_what_is_there(run: Run) -> None:
    with np.load(SIGHT / "questions.npz") as arrays:
        Image.fromarray(arrays["picture 0"]).save("shape.png")
        asked = json.loads(arrays["asked"].tobytes())[0]
    convert(SIGHT, Path("sight"), "INT8")
    said = [
        run("./sight", "-q", "--greedy", "-i", "shape.png", "-p", question)[1].strip()
        for question, _, right in asked
        if right
    ]
    assert said and said == [answer for _, answer, right in asked if right]


def test_a_model_that_sees_is_found_by_itself(run: Run, tiny_vlm: Path) -> None:
    Path("weights").mkdir()
    Path("weights", "some-vl").symlink_to(tiny_vlm)
    status, out, _ = run("-q", "--image", "cat.png", "--greedy", "--max-tokens", "2", "What is it?")
    assert status == 0 and out.strip()


def test_an_image_that_does_not_fit_says_what_it_costs(run: Run, tiny_vlm: Path) -> None:
    Image.new("RGB", (900, 900)).save("large.png")
    few = (tiny_vlm, "--image", "large.png", "--context", "64", "-p", "What?")
    status, out, err = run(*few)
    assert (status, out) == (1, "") and "of them are an image in " in err
    assert run(*few, "--max-image-tokens", "16", "--max-tokens", "2")[0] == 0


def test_describe_and_embed_with_a_real_model(
    run: Run, tiny_vlm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (30, 60), "blue").save("dog.png")
    options = ("--model", str(tiny_vlm), "-q", "cat.png", "none.png", "dog.png")
    assert run_cli(["describe", "--format", "json", "--max-tokens", "3", *options]) == 1
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["file"] for row in rows] == ["cat.png", "dog.png"]
    assert all(row["tiles"] == 1 and row["image_tokens"] > 0 and row["text"] for row in rows)

    assert run_cli(["embed", "--image", "--normalize", *options]) == 1
    said = capsys.readouterr()
    assert said.err == 'cactus: "none.png": no such file\n'
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [(row["file"], row["index"]) for row in rows] == [("cat.png", 0), ("dog.png", 2)]
    with Model(tiny_vlm) as model:
        expected = model.embed_image(["cat.png", "dog.png"], normalize=True)
    np.testing.assert_allclose([row["embedding"] for row in rows], expected, atol=1e-6)

    array = ["embed", "--image", "--format", "npy", "--output", "vectors.npy"]
    assert run_cli([*array, *options]) == 1 and not Path("vectors.npy").exists()
    whole = [option for option in options if option != "none.png"]
    assert run_cli([*array, *whole]) == 0
    assert np.load("vectors.npy").shape == expected.shape


def test_options_of_texts_are_refused_for_images(run: Run) -> None:
    del run
    for wrong in (["--prompt", "query"], ["--field", "text"], ["--truncate"]):
        assert run_cli(["embed", "--image", "cat.png", *wrong]) == 2
    assert run_cli(["embed", "--image"]) == run_cli(["embed", "a.txt", "b.txt"]) == 2
