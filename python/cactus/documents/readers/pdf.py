"""PDF files by pypdfium2: the text of each page, and the outline as headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cactus.documents.readers.lines import Blocks, Text
from cactus.documents.types import Block, Document, Limits
from cactus.documents.unread import Unread

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

_ENTRIES = 20_000  # of an outline; it may refer to itself
_DEEPEST = 6
_HYPHEN = re.compile("[\ufffe\x02](?:\r?\n)?")  # a hyphen at the end of a line, as PDFium has it
_FIELDS = {"Title": "title", "Author": "author", "Subject": "subject", "CreationDate": "date"}
_DATE = re.compile(r"D:(\d{4})(\d{2})(\d{2}).*")
_PASSWORD, _SECURITY = 4, 5  # FPDF_ERR_PASSWORD, FPDF_ERR_SECURITY


def pdf(data: bytes, limits: Limits) -> Document:
    """The document in a PDF file. Raises Unread."""
    try:
        import pypdfium2
    except ImportError:
        raise Unread("not installed", "pip install 'cactus[documents]'") from None
    try:
        file = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if getattr(error, "err_code", None) in (_PASSWORD, _SECURITY) or "assword" in str(error):
            raise Unread("encrypted", "it wants a password") from None
        raise Unread("damaged", str(error)) from None
    try:
        return _document(file, limits)
    finally:
        file.close()


def _document(file: PdfDocument, limits: Limits) -> Document:
    whole = Text(limits.characters)
    pages: list[int] = []
    broken = 0
    for index in range(len(file)):
        pages.append(whole.length)
        page = _page(file, index)
        broken += page is None
        whole.write((page or "") + "\n\n")
    if broken and broken == len(pages):
        raise Unread("damaged", "no page can be read")
    text = str(whole)
    if not text.strip():
        if not pages:
            raise Unread("empty", "0 pages")
        read = "1 page" if len(pages) == 1 else f"{len(pages)} pages"
        raise Unread("empty", f"no text in its {read}: pictures?")
    metadata = {name: file.get_metadata_value(key).strip() for key, name in _FIELDS.items()}
    metadata["date"] = _DATE.sub(r"\1-\2-\3", metadata["date"])
    metadata = {name: value for name, value in metadata.items() if value}
    notes = [f"{broken} of {len(pages)} pages cannot be read"] if broken else []
    blocks = _blocks(text, pages, _outline(file))
    return Document(text, blocks, "pdf", metadata, pages=pages, notes=notes)


def _page(file: PdfDocument, index: int) -> str | None:
    """The text of a page; None for one that is broken."""
    import pypdfium2

    try:
        page = file[index]
        try:
            textpage = page.get_textpage()
            text: str = textpage.get_text_range()
            textpage.close()
        finally:
            page.close()
    except pypdfium2.PdfiumError:
        return None
    return _HYPHEN.sub("", text).replace("\r\n", "\n").rstrip()


def _outline(file: PdfDocument) -> Iterator[tuple[int, str, int]]:
    """(level from 1, title, page from 0) of the entries of the outline."""
    import pypdfium2

    try:
        for count, mark in enumerate(file.get_toc(max_depth=_DEEPEST)):
            if count >= _ENTRIES:
                return
            target = mark.get_dest()
            page = target.get_index() if target is not None else None
            title = " ".join((mark.get_title() or "").split())[:300]
            if page is not None and title:
                yield mark.level + 1, title, page
    except pypdfium2.PdfiumError:
        return


def _blocks(text: str, pages: list[int], outline: Iterator[tuple[int, str, int]]) -> list[Block]:
    """Text under the headings of the outline, each where its title stands on its page."""
    blocks = Blocks()
    for level, title, page in outline:
        if not 0 <= page < len(pages):
            continue
        end = pages[page + 1] if page + 1 < len(pages) else len(text)
        pattern = r"\s+".join(re.escape(word) for word in title.split())
        match = re.compile(rf"^[\d.\s]*{pattern}", re.MULTILINE | re.IGNORECASE).search(
            text, max(pages[page], blocks.covered), end
        )
        place = match.start() if match else pages[page]
        if place >= blocks.covered:  # an outline that jumps back is not one of sections
            blocks.heading(place, place, level, title)
    blocks.text(len(text))
    return blocks
