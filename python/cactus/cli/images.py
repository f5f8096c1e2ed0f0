"""Images that a command is given: files, loaded before anything else is done with them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from cactus.cli.text import counted
from cactus.inputs.text import one_line

if TYPE_CHECKING:
    from cactus.images.picture import Picture

VIDEOS = (
    ".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".ogv", ".wmv", ".flv",
    ".3gp",
)  # fmt: skip
PATHS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".pdf", *VIDEOS)
"""Names that images, pages and videos usually end with; what an image is its content says."""

MOST_PAGES = 20
"""Pages of a PDF that are taken where none are named."""

_PAGES = re.compile(r"(.*\.pdf)#(\d{1,6})(?:-(\d{1,6}))?", re.I | re.S)
_SECONDS = r"(\d{1,6}(?:\.\d{1,3})?)"
_FRAMES = re.compile(
    rf"(.*(?:{'|'.join(map(re.escape, VIDEOS))}))#{_SECONDS}(?:-{_SECONDS})?s?", re.I | re.S
)

Tell = Callable[[str], None]
"""Shows a line to the user."""


@dataclass(frozen=True)
class Attached:
    """An image that is shown to a model: how its file was named, and its pixels.

    `given`: the file that it is a page or frame of, as the user named it. It is loaded once: what
    becomes of the file afterwards changes no conversation.
    """

    name: str
    picture: Picture
    given: str

    def __str__(self) -> str:
        size = f"{self.picture.width} x {self.picture.height}"
        return f"{one_line(os.path.basename(self.name))} ({size})"

    @property
    def path(self) -> str:
        """The absolute path of the file, behind it ``#`` and the page of a PDF, or the second."""
        return os.path.abspath(os.path.expanduser(self.name))


def by_file(images: Sequence[Attached]) -> list[list[Attached]]:
    """Images one after another, pages and frames of the same file together."""

    def origin(numbered: tuple[int, Attached]) -> int | str:
        place, image = numbered
        return place if image.name == image.given else image.given

    return [[image for _, image in several] for _, several in groupby(enumerate(images), origin)]


def listed(images: Sequence[Attached]) -> str:
    """Images to be read: "a.png (40 x 30), b.pdf (3 images)"."""
    return ", ".join(
        str(several[0])
        if len(several) == 1
        else f"{one_line(os.path.basename(several[0].given))} ({counted(len(several), 'image')})"
        for several in by_file(images)
    )


def is_part(name: str) -> bool:
    """Whether a name is that of a page or a frame: of its file, ``#``, and which it is."""
    return bool(_PAGES.fullmatch(name) or _FRAMES.fullmatch(name))


def is_image_file(name: str) -> bool:
    """Whether there is a file of that name, and it is named as images are."""
    return name.lower().endswith(PATHS) and os.path.isfile(os.path.expanduser(name))


def load_image(name: str) -> Attached:
    """Load an image file, a page or a frame, as `names_of` names it. Raises InvalidImage."""
    (image,) = _load([name], name)
    return image


def load_images(file: str, frames: int | None = None, tell: Tell | None = None) -> list[Attached]:
    """The images that a file is; `frames` and `tell` as for `names_of`. Raises InvalidImage."""
    return _load(names_of(file, frames, tell), file)


def names_of(file: str, frames: int | None = None, tell: Tell | None = None) -> list[str]:
    """The names of the images that a file is: its own, or of a PDF ``FILE.pdf#1`` and so on, of a
    video ``FILE.mp4#0s`` and so on.

    ``FILE.pdf#3-7`` are some of its pages, ``FILE.mp4#3-7s`` is a part of a video. Of a video there
    are `frames` at most, and `tell` is told at which seconds. Only what tells their number is read.
    Raises InvalidImage.
    """
    if os.path.isdir(os.path.expanduser(file)):
        from cactus.errors import InvalidImage

        one = os.path.join(file, "*.jpg")
        raise InvalidImage(f'"{file}" is a directory; name the images in it, as in {one}')
    lower = file.lower()
    if lower.endswith(".pdf") or _PAGES.fullmatch(file):
        return _pages_of(file)
    if lower.endswith(VIDEOS) or _FRAMES.fullmatch(file):
        return _frames_of(file, frames, tell)
    return [file]


def _pages_of(file: str) -> list[str]:
    from cactus.errors import InvalidImage
    from cactus.images.pages import count_pages

    found = _PAGES.fullmatch(file)
    name = found[1] if found else file
    count = count_pages(name)
    if found:
        first, last = int(found[2]), int(found[3] or found[2])
        if not 1 <= first <= last <= count:
            raise InvalidImage(f"{file}: there is no such page; {name} has pages 1 to {count}")
    elif count > MOST_PAGES:
        raise InvalidImage(
            f"{name} has {count} pages, each of which is an image; name some of them, as in "
            f"{name}#1-{MOST_PAGES}"
        )
    else:
        first, last = 1, count
    return [f"{name}#{number}" for number in range(first, last + 1)]


def _frames_of(file: str, most: int | None, tell: Tell | None) -> list[str]:
    from cactus.images.frames import FRAMES, find_times

    most = most or FRAMES
    found = _FRAMES.fullmatch(file)
    if found is None:
        name, times = file, find_times(file, most)
    else:
        name, start = found[1], float(found[2])
        times = find_times(name, most, start, float(found[3] or start))
    if tell is not None and (found is None or found[3]):
        at = ", ".join(f"{time:g}" for time in times)
        tell(f"{os.path.basename(name)}: {counted(len(times), 'frame')} of the video, at {at} s")
    return [f"{name}#{time:g}s" for time in times]


def _load(names: list[str], given: str) -> list[Attached]:
    """The images of one file, whose `names` are those of `names_of`."""
    if page := _PAGES.fullmatch(names[0]):
        from cactus.images.pages import load_pages

        numbers = [int(name.rpartition("#")[2]) for name in names]
        pictures = load_pages(page[1], numbers)
    elif moment := _FRAMES.fullmatch(names[0]):
        from cactus.images.frames import load_frames

        times = [float(name.rpartition("#")[2].removesuffix("s")) for name in names]
        pictures = load_frames(moment[1], times=times)
    else:
        from cactus.images.door import load

        pictures = map(load, names)
    return [Attached(name, picture, given) for name, picture in zip(names, pictures, strict=True)]
