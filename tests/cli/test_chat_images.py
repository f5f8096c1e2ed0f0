"""Images in a chat: attached by a command or a path, shown, asked about, taken back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.test_chat import CONTROLS, Talk
from tests.images.made import video

Start = Callable[..., Talk]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """`a cat.png` of 40 x 30 and `dog.png` of 20 x 10."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (40, 30)).save(folder / "a cat.png")
    Image.new("RGB", (20, 10)).save(folder / "dog.png")
    return folder


@pytest.fixture
def talk(tmp_path: Path, tiny_model: Path) -> Iterator[Start]:
    talks: list[Talk] = []

    def start(*arguments: str) -> Talk:
        talks.append(Talk(tmp_path / "state", "--sees", *arguments, str(tiny_model)))
        return talks[-1]

    yield start
    for each in talks:
        each.child.close(force=True)


def attach(chat: Talk, line: str) -> str:
    """Sends a line after which images are attached: the prompt says how many."""
    chat.child.sendline(line)
    chat.child.expect(r"\x1b\[1m(\[\d images?\]) > \x1b\[0m")
    return CONTROLS.sub("", chat.child.before).partition("\n")[2].strip() + chat.child.match[1]


def test_an_image_is_attached_asked_about_and_stays_in_the_conversation(
    talk: Start, photos: Path
) -> None:
    chat = talk()
    said = attach(chat, f"/image {photos}/a cat.png")
    assert said == "[a cat.png (40 x 30) is attached: 20 tokens of 60][1 image]"
    assert chat.answer("What is it?") == "['What is it?'] sees [(40, 30)]"
    assert chat.answer("Sure?").endswith("'Sure?'] sees [(40, 30)]")  # and the prompt is bare
    assert chat.say("/images") == "asked about: a cat.png (40 x 30)"


def test_a_path_in_a_message_is_an_image_and_said_so(talk: Start, photos: Path) -> None:
    chat = talk()
    said = chat.say(f"What is in '{photos}/a cat.png'?")
    assert said.startswith("[a cat.png (40 x 30) is attached: 20 tokens of 60]\n")
    assert "['What is in the image?'] sees [(40, 30)]" in said
    assert attach(chat, f"file://{photos}/dog.png").endswith("[1 image]")
    assert attach(chat, f"{photos}/a\\ cat.png").endswith("[2 images]")
    assert "sees [(40, 30)] sees [(20, 10), (40, 30)]" in chat.say("Which is larger?")


def test_a_video_is_attached_as_frames_and_taken_back_whole(talk: Start, photos: Path) -> None:
    (photos / "clip.mp4").write_bytes(video(5))
    chat = talk()
    chat.say("/set frames 3")
    attach(chat, f"/image {photos}/dog.png")
    said = attach(chat, f"{photos}/clip.mp4 ")
    assert said.startswith("[clip.mp4: 3 frames of the video, at 0, 1.7, 3.4 s]")
    assert "[clip.mp4 (3 images) are attached: 60 tokens of 60][4 images]" in said
    assert "No longer attached: clip.mp4 (3 images)" in attach(chat, "/undo")
    attach(chat, f"/image {photos}/clip.mp4#2s")
    assert "sees [(20, 10), (64, 48)]" in chat.say("What?")
    assert chat.say("/image") == "asked about: dog.png (20 x 10), clip.mp4#2s (64 x 48)"
    assert "dog.png (20 x 10) is attached" in attach(
        chat, f"/image {photos}/d*.png {photos}/dog.png"
    )
    chat.say("Sure?")
    assert chat.say("/image").endswith(
        "clip.mp4#2s (64 x 48), dog.png (20 x 10), dog.png (20 x 10)"
    )


def test_undo_takes_back_attached_images_first_and_clear_drops_all(
    talk: Start, photos: Path
) -> None:
    chat = talk()
    attach(chat, f"/image '{photos}/a cat.png' {photos}/dog.png")
    assert attach(chat, "/undo").startswith("[No longer attached: dog.png (20 x 10)]")
    assert "sees [(40, 30)]" in chat.say("What?")
    assert chat.say("/undo") == "[Taken back: a cat.png (40 x 30): What?]"
    assert "sees" not in chat.say("And now?")
    attach(chat, f"/image {photos}/dog.png")
    assert chat.say("/clear") == "[The conversation is forgotten.]"
    assert chat.say("/image").startswith("No images.")
    assert chat.answer("one") == "['one']"


def test_a_question_that_fails_keeps_its_images_attached(talk: Start, photos: Path) -> None:
    chat = talk()
    attach(chat, f"/image {photos}/dog.png")
    assert attach(chat, "this is too long").endswith("[1 image]")
    assert "sees [(20, 10)]" in chat.say("short")
    assert "sees [(20, 10)]" in chat.answer("/retry")


def test_what_is_no_image_is_said_and_not_asked(talk: Start, photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"GIF89a")
    (photos / "notes.txt").write_text("notes")
    chat = talk()
    assert "cut off" in chat.say(f"What is {photos}/broken.png")
    assert "no such file" in chat.say(f"/image {photos}/none.png")
    assert "is text, beginning with" in chat.say(f"/image {photos}/notes.txt")
    said = chat.say("/no/cat.png what?")
    assert said.startswith("[/no/cat.png: no such file") and "['/no/cat.png what?']" in said


def test_images_are_saved_as_paths_and_loaded_again(
    talk: Start, photos: Path, tmp_path: Path
) -> None:
    chat, file = talk(), tmp_path / "saved.json"
    chat.say(f"{photos}/dog.png What?")
    chat.say(f"/save {file}")
    messages = json.loads(file.read_text())["messages"]
    assert messages[0]["images"] == [str(photos / "dog.png")]
    other = talk()
    assert "the last: dog.png (20 x 10): What?" in other.say(f"/load {file}")
    assert "sees [(20, 10)]" in other.say("Sure?")
    (photos / "dog.png").unlink()
    assert "sees [(20, 10)]" in other.say("Sure?")  # it was loaded once
    assert "an image that cannot be loaded" in talk().say(f"/load {file}")


def test_tab_completes_images_and_folders_with_spaces_and_quotes(talk: Start, photos: Path) -> None:
    (photos / "a cat.txt").write_text("")
    chat = talk()
    for typed in (f"{photos}/a\t", f"'{photos}/a\t", f"{photos}/a\\ c\t"):
        assert attach(chat, f"/image {typed}").startswith("[a cat.png (40 x 30)")
        chat.say("/undo")


def test_progress_is_shown_where_looking_takes_long(talk: Start, photos: Path) -> None:
    chat = talk()
    chat.child.sendline(f"{photos}/dog.png stare")
    chat.child.expect(r"\r\x1b\[Klooking at images: \d of 3 tiles\r\x1b\[Kreading \.\.\.")
    assert "(3 tiles of images in 1.5 s)" in chat._prompt()


def test_a_model_that_cannot_see_says_so(tmp_path: Path, tiny_model: Path, photos: Path) -> None:
    chat = Talk(tmp_path / "state", str(tiny_model))
    assert "echo (echo) cannot look at images" in chat.say(f"/image {photos}/dog.png")
    said = chat.say(f"{photos}/dog.png what?")
    assert "echo cannot look at images" in said and "dog.png what?']" in said
    chat.child.close(force=True)
