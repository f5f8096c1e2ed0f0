"""Paths of images in what is typed, as terminals and people write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from cactus.cli.pasted import Pasted, files_of, find_images


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`a.png`, `b.PNG`, one without a suffix, one whose name needs quotes; here is their folder."""
    folder = tmp_path / "My Photos"
    folder.mkdir()
    for name in ("a.png", "b.PNG", "plain", "it's a (1).png"):
        Image.new("RGB", (4, 3)).save(folder / name, "PNG")
    (folder / "notes.txt").write_text("no image")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    return folder


SPELLINGS = (
    "{path}",
    "'{path}'",
    '"{path}"',
    "{path:escaped}",
    "file://{path:url}",
    "{path},",
    "({path})",
)


def spelled(form: str, path: Path) -> str:
    escaped = str(path).replace("'", r"\'").replace(" ", r"\ ")
    url = str(path).replace(" ", "%20")
    return form.replace("{path:escaped}", escaped).replace("{path:url}", url).format(path=path)


@pytest.mark.parametrize("form", SPELLINGS)
def test_a_path_is_found_as_terminals_and_people_write_it(photos: Path, form: str) -> None:
    word = spelled(form, photos / "a.png")
    found = find_images(f"{word} What is this?")
    assert found.files == (str(photos / "a.png"),)
    assert found.text.endswith("What is this?") and "a.png" not in found.text


def test_a_name_with_quotes_and_brackets(photos: Path) -> None:
    path = photos / "it's a (1).png"
    shell = "'" + str(path).replace("'", "'\\''") + "'"
    backslashes = "".join(f"\\{c}" if c in " '()" else c for c in str(path))
    for word in (shell, backslashes, str(path)):
        assert find_images(f"{word} Well?") == Pasted("Well?", (str(path),))


def test_what_is_left_of_a_message(photos: Path) -> None:
    a, b = f"'{photos / 'a.png'}'", f"'{photos / 'b.PNG'}'"
    for message, text in (
        (a, ""),
        (f"{a}\n{b}\n", ""),
        (f"{a}, {b} both?", "both?"),
        (f"what is in {a}?", "what is in the image?"),
        (f"what is it {a} ", "what is it"),
        (f"compare {a} and {b} please", "compare image 1 and image 2 please"),
        (f"compare {a} with {b}", "compare image 1 with image 2"),
        (f"{a} and {b} are the same?", "image 1 and image 2 are the same?"),
        (f"don't look at {a} yet", "don't look at the image yet"),
        ("./a.png", ""),
        ("~/b.PNG hi", "hi"),
    ):
        assert find_images(message).text == text


def test_what_is_no_path_of_an_image_stays_text(photos: Path) -> None:
    for message in (
        "a.png",  # a name alone is a word
        f"'{photos / 'notes.txt'}' sum this up",
        "https://example.org/a.png",
        "/usr/bin is a folder",
        "  if x: // see\n",
        "1/2 and/or ./",
        "",
    ):
        assert find_images(message) == Pasted(message, ())


def test_the_content_says_what_a_file_without_a_suffix_is(photos: Path) -> None:
    assert find_images("./plain what?") == Pasted("what?", ("./plain",))


def test_a_path_that_leads_to_no_image_is_mentioned(photos: Path) -> None:
    found = find_images("/no/such/cat.jpg what is it?")
    assert found == Pasted("/no/such/cat.jpg what is it?", (), ("/no/such/cat.jpg",))


def test_the_files_behind_a_command(photos: Path) -> None:
    path = str(photos / "it's a (1).png")
    assert files_of(path) == files_of("~/it's a (1).png") == [path]
    assert files_of("a.png 'b.PNG'") == ["a.png", "b.PNG"]
    assert files_of(f'"{photos}/a.png"') == [str(photos / "a.png")]
    assert files_of("no such.png") == ["no such.png"]
    assert files_of("*.png") == ["a.png", "it's a (1).png"]
    assert files_of("[ab].* no*.gif") == ["a.png", "b.PNG", "no*.gif"]
