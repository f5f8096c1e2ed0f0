"""Paths of images in what is typed: pasted, or dragged into the terminal."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from urllib.parse import unquote, urlsplit

from cactus.cli.images import PATHS

_START = re.compile(r"(?<![^\s(])(?=['\"]?(?:/|~/|\./|\.\./|file://))", re.I)
"""Where a path may begin: behind a space, as a path from the root, the home or the folder."""

_SHELL_WORD = re.compile(r"(?:'[^'\n]*'|\"(?:\\.|[^\"\\\n])*\"|\\.|[^\s'\"\\])+")
"""A word with its quotes and backslashes, as terminals write the name of a file dragged there."""

_NAMED = re.compile(rf"[^\n]*?(?:{'|'.join(map(re.escape, PATHS))})(?!\w)", re.I)
_WORD = re.compile(r"\S+")
_PUNCTUATION = ".,;:!?)'\""
_BETWEEN = " \t\n,;"


@dataclass(frozen=True)
class Pasted:
    """A message without the paths of images in it: `text`; those `files`; and what looks like the
    path of an image and is not a file: `missing`.
    """

    text: str
    files: tuple[str, ...]
    missing: tuple[str, ...] = ()


def find_images(message: str) -> Pasted:
    """The paths of image files in a message.

    Quoted, with backslashes, as `file:` addresses or plain; a path must begin as one. Those at the
    beginning and the end are left out of the text; where one stands within a sentence, "image 1"
    and so on stand in their places.
    """
    files: list[str] = []
    missing: list[str] = []
    spans: list[tuple[int, int]] = []
    at = 0
    while begun := _START.search(message, at):
        start = begun.start()
        found = next((each for each in _candidates(message, start) if _is_image(each[1])), None)
        if found is None:
            word = _SHELL_WORD.match(message, start)
            if word and _file_of(word[0]).lower().endswith(PATHS):
                missing.append(_file_of(word[0]))
            at = word.end() if word else start + 1
            continue
        at = found[0]
        spans.append((start, at))
        files.append(found[1])
    return Pasted(_without(message, spans), tuple(files), tuple(missing))


def files_of(text: str) -> list[str]:
    """The files that a text names: one whose name may have spaces, or several words of a shell.

    What is not a file stands for all files that fit, as in a shell: ``*.png``.
    """
    whole = os.path.expanduser(text)
    if os.path.exists(whole):
        return [whole]
    words = [_file_of(word) for word in _SHELL_WORD.findall(text)]
    files = {word: [word] if os.path.exists(word) else sorted(glob(word)) for word in words}
    if len(words) == 1 or any(files.values()):
        return [file for word in words for file in files[word] or [word]]
    return [whole]


def _candidates(message: str, start: int) -> Iterator[tuple[int, str]]:
    """What may be a path at a position: where it ends, and the file that it means."""
    if word := _SHELL_WORD.match(message, start):
        for end in _ends(word):
            yield end, _file_of(message[start:end])
    # With spaces that nothing says are part of it.
    end = start
    while named := _NAMED.match(message, end):
        end = named.end()
        yield end, os.path.expanduser(message[start:end])
    if plain := _WORD.match(message, start):
        for end in _ends(plain):
            yield end, os.path.expanduser(message[start:end])


def _ends(word: re.Match[str]) -> Iterator[int]:
    """Where a word ends, and where it ends without some of the punctuation behind it."""
    end = word.end()
    yield end
    while end > word.start() + 1 and word.string[end - 1] in _PUNCTUATION:
        end -= 1
        yield end


def _file_of(word: str) -> str:
    """The path that a word of a shell, or a `file:` address, means."""
    try:
        (path,) = shlex.split(word)
    except ValueError:  # a quote without its end, or nothing
        path = word
    if path[:7].lower() == "file://":
        path = unquote(urlsplit(path).path)
    return os.path.expanduser(path)


def _is_image(path: str) -> bool:
    """Whether it is a file that is named as images are, or begins as one."""
    from cactus.errors import InvalidImage
    from cactus.images.formats import recognise

    try:
        if not os.path.isfile(path):
            return False
        if path.lower().endswith(PATHS):
            return True
        with open(path, "rb") as file:
            recognise(file.read(64), path)
    except (OSError, ValueError, InvalidImage):
        return False
    return True


def _without(message: str, spans: list[tuple[int, int]]) -> str:
    if not spans:
        return message
    ends = [0, *(stop for _, stop in spans)]
    between = [message[end:start] for end, (start, _) in zip(ends, spans, strict=False)]
    rest = message[ends[-1] :]
    last = len(message.rstrip())
    within = any(
        "".join(between[: number + 1]).strip(_BETWEEN) and stop < last
        for number, (_, stop) in enumerate(spans)
    )
    text = ""
    for number, before in enumerate(between, 1):
        text += before
        if within:
            text += f"image {number}" if len(spans) > 1 else "the image"
    return (text + rest).lstrip(_BETWEEN).rstrip()
