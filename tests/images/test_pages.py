"""Pages of PDF documents as images."""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from cactus.errors import InvalidImage
from cactus.images.pages import LONGEST, count_pages, load_pages
from cactus.images.picture import Limits, Policy


def document(*sizes: tuple[float, float]) -> bytes:
    """A PDF with pages of these sizes in points; the n-th has a picture of grey 40·n on it."""
    made = pypdfium2.PdfDocument.new()
    for number, (width, height) in enumerate(sizes, 1):
        page = made.new_page(width, height)
        bitmap = pypdfium2.PdfBitmap.from_pil(Image.new("RGB", (8, 8), (40 * number, 0, 200)))
        image = pypdfium2.PdfImage.new(made)
        image.set_bitmap(bitmap)
        image.set_matrix(pypdfium2.PdfMatrix().scale(width / 2, height))
        page.insert_obj(image)
        page.gen_content()
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


@pytest.fixture(scope="module")
def two() -> bytes:
    return document((100, 60), (30, 40))


def test_pages_are_drawn_in_colour_at_144_dots_per_inch(two: bytes, tmp_path: Path) -> None:
    (tmp_path / "two.pdf").write_bytes(two)
    for source in (two, io.BytesIO(two), tmp_path / "two.pdf"):
        first, second = load_pages(source)
        assert [(page.width, page.height) for page in (first, second)] == [(200, 120), (60, 80)]
        assert first.pixels[60, 50].tolist() == [40, 0, 200]
        assert second.pixels[40, 10].tolist() == [80, 0, 200]
        assert first.pixels[60, 150].tolist() == [255, 255, 255]  # paper is white
        assert first.pixels.dtype == np.uint8 and not first.pixels.flags.writeable
    assert count_pages(two) == 2


def test_pages_that_are_named(two: bytes) -> None:
    assert [page.width for page in load_pages(two, [2, 1, 2])] == [60, 200, 60]
    assert list(load_pages(two, [])) == []
    with pytest.raises(InvalidImage, match="has no page 3: its pages are 1 to 2"):
        list(load_pages(two, [3]))


def test_a_huge_page_is_drawn_less_finely() -> None:
    (page,) = load_pages(document((14_000, 700)))
    assert max(page.width, page.height) == LONGEST and abs(page.height - LONGEST / 20) <= 1


@pytest.mark.fault("F72")
def test_what_is_no_pdf_is_refused(two: bytes, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    for source in (b"GIF89a", tmp_path / "notes.txt", np.zeros((2, 2))):
        with pytest.raises(InvalidImage, match="not a PDF"):
            count_pages(source)
    with pytest.raises(InvalidImage, match="cannot be opened"):
        count_pages(b"%PDF-1.7\nnothing else")
    with pytest.raises(InvalidImage, match="no such file"):
        count_pages(tmp_path / "none.pdf")


def test_the_limits_and_the_policy_of_images_hold(two: bytes, tmp_path: Path) -> None:
    with pytest.raises(InvalidImage, match="at most 10 are taken"):
        count_pages(two, Limits(file_bytes=10))
    (tmp_path / "two.pdf").write_bytes(two)
    with pytest.raises(InvalidImage, match="given as a path"):
        count_pages(tmp_path / "two.pdf", policy=Policy(local_files=False))


def test_a_missing_package_is_named(two: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    with pytest.raises(InvalidImage, match=r"pip install 'cactus\[documents\]'"):
        count_pages(two)


def test_several_threads_may_draw_pages(two: bytes) -> None:
    with ThreadPoolExecutor(4) as pool:
        drawn = pool.map(lambda _: [page.digest for page in load_pages(two)], range(40), timeout=60)
        assert len({tuple(digests) for digests in drawn}) == 1
