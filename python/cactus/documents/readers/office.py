"""Word and PowerPoint files: paragraphs, headings, tables; slides with their notes.

https://ecma-international.org/publications-and-standards/standards/ecma-376/ describes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from cactus.documents.readers.archive import Archive
from cactus.documents.readers.lines import Blocks, Text
from cactus.documents.types import Document, Limits

_HEADING = re.compile(r"(?:heading|überschrift|titre|título|titolo)\s*([1-9])", re.IGNORECASE)


class _Flow(Text):
    """Text that grows by paragraphs and rows, and its blocks."""

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits.characters)
        self.blocks = Blocks()

    def paragraph(self, text: str, level: int = 0) -> None:
        """A paragraph, or a heading of a level."""
        text = text.strip()
        if not text:
            return
        start = self.length
        self.write(text + "\n\n")
        if level:
            self.blocks.heading(start, self.length, level, " ".join(text.split()))

    def table(self, rows: list[list[str]]) -> None:
        """A table; its first row is its header."""
        start = self.length
        lines = [" | ".join(" ".join(cell.split()) for cell in row) for row in rows]
        lines = [line for line in lines if line.strip(" |")]
        if lines:
            self.write("\n".join(lines) + "\n\n")
            self.blocks.add("table", start, self.length, lines[0])

    def document(self, kind: str, metadata: dict[str, str], pages: list[int]) -> Document:
        self.blocks.text(self.length)
        return Document(str(self), self.blocks, kind, metadata, pages=pages)


class _Paragraphs:
    """Handlers that put the text of paragraphs and tables together.

    ``p`` is a paragraph, ``t`` its text, ``tc`` a cell: the same names in Word and PowerPoint.
    """

    def __init__(
        self, flow: _Flow, level: Callable[[str, dict[str, str]], int | None] | None = None
    ) -> None:
        self._flow = flow
        self._level_of = level
        self._text: list[str] = []
        self._level = 0
        self._reads = 0
        self._skips = 0  # inside of a second form of the same, or of what was moved away
        self._rows: list[list[str]] = []
        self._cell: list[str] = []
        self._tables = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._skips or tag in ("Fallback", "moveFrom", "fld"):
            self._skips += 1
        elif tag == "t":
            self._reads += 1
        elif tag == "tab":
            self._text.append("\t")
        elif tag in ("br", "cr"):
            self._text.append("\n")
        elif tag == "noBreakHyphen":
            self._text.append("-")
        elif tag == "tbl":
            self._tables += 1
            if self._tables == 1:
                self._rows = []
        elif tag == "tr" and self._tables == 1:
            self._rows.append([])
        elif tag == "tc" and self._tables == 1:
            self._cell = []
        elif self._level_of and (level := self._level_of(tag, attributes)) is not None:
            self._level = level

    def end(self, tag: str) -> None:
        if self._skips:
            self._skips -= 1
        elif tag == "t":
            self._reads -= 1
        elif tag == "p":
            text = "".join(self._text)
            self._text = []
            if self._tables:
                self._cell.append(text)
            else:
                self._flow.paragraph(text, self._level)
            self._level = 0
        elif tag == "tc" and self._tables == 1 and self._rows:
            self._rows[-1].append(" ".join(self._cell))
        elif tag == "tbl":
            self._tables -= 1
            if self._tables == 0:
                self._flow.table(self._rows)

    def data(self, text: str) -> None:
        if self._reads and not self._skips:
            self._text.append(text)


def docx(data: bytes, limits: Limits) -> Document:
    """The document in a Word file. Raises Unread."""
    archive = Archive(data, limits)
    flow = _Flow(limits)
    styles = _styles(archive)

    def level(tag: str, attributes: dict[str, str]) -> int | None:
        if tag == "pStyle":
            return styles.get(attributes.get("val", ""), 0)
        if tag == "outlineLvl" and attributes.get("val", "").isdecimal():
            number = int(attributes["val"]) + 1
            return number if number < 10 else 0
        return None

    for part in ("word/document.xml", "word/footnotes.xml", "word/endnotes.xml"):
        if part in archive.names or part == "word/document.xml":
            handlers = _Paragraphs(flow, level)
            archive.parse(part, handlers.start, handlers.end, handlers.data)
    return flow.document("docx", core_properties(archive), [])


def _styles(archive: Archive) -> dict[str, int]:
    """The level of each style that is one of headings."""
    found: dict[str, int] = {}
    current = ""

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal current
        value = attributes.get("val", "")
        if tag == "style":
            current = attributes.get("styleId", "")
        elif tag == "name" and (match := _HEADING.fullmatch(value)):
            found[current] = int(match[1])
        elif tag == "name" and value.lower() == "title":
            found[current] = 1
        elif tag == "outlineLvl" and value.isdecimal() and int(value) < 9:
            found.setdefault(current, int(value) + 1)

    if "word/styles.xml" in archive.names:
        archive.parse("word/styles.xml", start)
    return found


def pptx(data: bytes, limits: Limits) -> Document:
    """The document in a PowerPoint file; a slide is a page. Raises Unread."""
    archive = Archive(data, limits)
    flow = _Flow(limits)
    pages: list[int] = []
    relations = archive.relations("ppt/presentation.xml")
    slides: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if tag == "sldId" and (part := relations.get(attributes.get("r:id", ""))):
            slides.append(part)

    archive.parse("ppt/presentation.xml", start)
    for slide in slides:
        pages.append(flow.length)
        _slide(archive, slide, flow)
        for part in archive.relations(slide).values():
            if "notesSlide" in part and part in archive.names:
                notes = _Paragraphs(flow)
                archive.parse(part, notes.start, notes.end, notes.data)
    return flow.document("pptx", core_properties(archive), pages)


def _slide(archive: Archive, part: str, flow: _Flow) -> None:
    in_title = False

    def level(tag: str, attributes: dict[str, str]) -> int | None:
        nonlocal in_title
        if tag == "sp":
            in_title = False
        elif tag == "ph" and attributes.get("type") in ("title", "ctrTitle"):
            in_title = True
        return 1 if in_title and tag == "p" else None

    handlers = _Paragraphs(flow, level)
    archive.parse(part, handlers.start, handlers.end, handlers.data)


def core_properties(archive: Archive) -> dict[str, str]:
    """Title, author and date of an office file."""
    names = {"title": "title", "creator": "author", "subject": "subject", "created": "date"}
    found: dict[str, str] = {}
    current = ""

    def start(tag: str, _: dict[str, str]) -> None:
        nonlocal current
        current = names.get(tag, "")

    def data(text: str) -> None:
        if current:
            found[current] = found.get(current, "") + text

    def end(_: str) -> None:
        nonlocal current
        current = ""

    if "docProps/core.xml" in archive.names:
        archive.parse("docProps/core.xml", start, end, data)
    return {name: " ".join(value.split()) for name, value in found.items() if value.strip()}
