"""Images that a command is given: files, loaded before anything else is done with them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cactus.inputs.text import one_line

if TYPE_CHECKING:
    from cactus.images.picture import Picture

PATHS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".pdf")
"""Names that images and pages usually end with; what a file is its content says."""

MOST_PAGES = 20
"""Pages of a PDF that are taken where none are named."""

_PAGES = re.compile(r"(.*\.pdf)#(\d{1,6})(?:-(\d{1,6}))?", re.I | re.S)


@dataclass(frozen=True)
class Attached:
    """An image that is shown to a model: how its file was named, and its pixels.

    It is loaded once: what becomes of the file afterwards changes no conversation.
    """

    name: str
    picture: Picture

    def __str__(self) -> str:
        size = f"{self.picture.width} x {self.picture.height}"
        return f"{one_line(os.path.basename(self.name))} ({size})"

    @property
    def path(self) -> str:
        """The absolute path of the file, behind it ``#`` and the page of a PDF."""
        return os.path.abspath(os.path.expanduser(self.name))


def load_image(name: str) -> Attached:
    """Load an image file, or a page of a PDF, as `names_of` names it. Raises InvalidImage."""
    if page := _PAGES.fullmatch(name):
        from cactus.images.pages import load_pages

        return Attached(name, next(load_pages(page[1], [int(page[2])])))
    from cactus.images.door import load

    return Attached(name, load(name))


def load_images(file: str) -> list[Attached]:
    """The images that a file is. Raises InvalidImage."""
    return [load_image(name) for name in names_of(file)]


def names_of(file: str) -> list[str]:
    """The names of the images that a file is: its own, or of a PDF ``FILE.pdf#1`` and so on.

    ``FILE.pdf#3-7`` are some of its pages. Only what tells their number is read. Raises
    InvalidImage.
    """
    found = _PAGES.fullmatch(file)
    if found is None and not file.lower().endswith(".pdf"):
        return [file]
    from cactus.errors import InvalidImage
    from cactus.images.pages import count_pages

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
