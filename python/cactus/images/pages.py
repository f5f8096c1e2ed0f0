"""Pages of a PDF document as images, by pypdfium2."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from cactus.errors import InvalidImage
from cactus.images.door import file_of
from cactus.images.picture import Limits, Picture, Policy

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

DOTS_PER_INCH = 144
"""How finely pages are drawn: an A4 page has 1191 x 1684 pixels."""

LONGEST = 4096
"""Pixels of a page's longer side at most; larger pages are drawn less finely."""

_POINTS = 72  # of an inch, in which PDF measures


_ALONE = threading.RLock()
"""PDFium is for one thread at a time."""


def count_pages(source: Any, limits: Limits | None = None, policy: Policy | None = None) -> int:
    """How many pages a PDF document has; `source` as for `load_pages`. Raises InvalidImage."""
    with _opened(source, limits, policy) as (document, _), _ALONE:
        return len(document)


def load_pages(
    source: Any,
    numbers: Sequence[int] | None = None,
    limits: Limits | None = None,
    policy: Policy | None = None,
) -> Iterator[Picture]:
    """Pages of a PDF document as images, each drawn when it is asked for.

    `source`: a path, the file's bytes or a file object. `numbers`: which pages, from 1 on; None is
    all. Raises InvalidImage for what is no PDF, wants a password, or has no such page.
    """
    with _opened(source, limits, policy) as (document, name):
        with _ALONE:
            count = len(document)
        for number in range(1, count + 1) if numbers is None else numbers:
            if not 1 <= number <= count:
                raise InvalidImage(f"{name} has no page {number}: its pages are 1 to {count}")
            yield _draw(document, number, name)


@contextmanager
def _opened(
    source: Any, limits: Limits | None, policy: Policy | None
) -> Iterator[tuple[PdfDocument, str]]:
    found = file_of(source, limits or Limits(), policy or Policy())
    if found is None or not found[0][:1024].lstrip().startswith(b"%PDF"):
        raise InvalidImage(f"{found[1] if found else 'what is given'} is not a PDF document")
    data, name = found
    try:
        import pypdfium2
    except ImportError:
        raise InvalidImage(
            f"{name} is a PDF document, and the package that reads those is missing: "
            "pip install 'cactus[documents]'"
        ) from None
    with _ALONE:
        try:
            document = pypdfium2.PdfDocument(data)
        except pypdfium2.PdfiumError as error:
            raise InvalidImage(f"{name} cannot be opened: {error}") from None
    try:
        yield document, name
    finally:
        with _ALONE:
            document.close()


def _draw(document: PdfDocument, number: int, name: str) -> Picture:
    import numpy as np
    import pypdfium2

    with _ALONE:
        try:
            with closing(document[number - 1]) as page:
                scale = min(DOTS_PER_INCH / _POINTS, LONGEST / max(page.get_size()))
                with closing(page.render(scale=scale, rev_byteorder=True)) as bitmap:
                    pixels = np.array(bitmap.to_numpy()[..., :3])
        except (pypdfium2.PdfiumError, ValueError, ZeroDivisionError) as error:
            raise InvalidImage(f"page {number} of {name} cannot be drawn: {error}") from None
    pixels.setflags(write=False)
    return Picture(pixels, f"page {number} of {name}")
