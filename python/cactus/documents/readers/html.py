"""HTML as text: headings, paragraphs, code and tables; scripts, styles and navigation left out."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from cactus.documents.readers.lines import Blocks, Text
from cactus.documents.types import Block
from cactus.documents.words import words

_NO_TEXT = frozenset({"script", "style", "template"})
_LEFT_OUT = _NO_TEXT | words("noscript nav svg iframe object select button canvas audio video")
_PARAGRAPHS = words(
    "p div section article main header footer aside address blockquote figure figcaption ul "
    "ol dl dt dd fieldset hr body table caption details summary center"
)
_LINES = words("br li tr option")
_ROLES = frozenset({"navigation", "search", "banner", "menu"})
_LEFT_OUT_CLASSES = words("navheader navfooter sphinxsidebar related headerlink toc-nav")
_SPACE = re.compile(r"\s+")


class Html(HTMLParser):
    """Collects `text`, `blocks` and `metadata` of what is fed to it.

    What is fed makes the text longer: several files may be, one after the other. Raises Unread
    "too large" when the text grows past `characters`.
    """

    def __init__(self, characters: int, navigation: bool = False) -> None:
        super().__init__(convert_charrefs=True)
        self._navigation = navigation  # whether it is kept
        self.metadata: dict[str, str] = {}
        self.blocks = Blocks()
        self._text = Text(characters)
        self._ends_with_space = True
        self._left_out = 0  # how deep we are in what is left out
        self._left_out_tag = ""
        self._title: list[str] | None = None
        self._heading: tuple[int, int] | None = None  # where one began, its level
        self._pre = -1  # where code began
        self._table = -1  # where a table began; only simple tables are kept as such
        self._table_depth = 0
        self._row: list[str] | None = None

    def finish(self) -> str:
        """The text of everything that was fed."""
        self.close()
        self._end_heading()
        self._end_table()
        self.blocks.text(self.length)
        return str(self._text)

    def next_file(self) -> None:
        """Forget what the last file left open."""
        self.close()
        self._end_heading()
        self._end_table()
        self.reset()
        self._left_out, self._title, self._pre, self._row = 0, None, -1, None
        self._table_depth = 0
        self._paragraph()

    @property
    def left_open(self) -> bool:
        """Whether what was left out has not ended: then it was not what it seemed."""
        return self._left_out > 0 and self._left_out_tag not in _NO_TEXT

    @property
    def length(self) -> int:
        """Characters of the text so far."""
        return self._text.length

    def parse_marked_section(self, i: int, report: bool = True) -> int:
        """A section such as ``<![x[``, of a kind that is not known, is a comment."""
        try:
            return super().parse_marked_section(i, report)
        except AssertionError:  # what older versions of the library raise
            return self.parse_bogus_comment(i, report)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._left_out:
            self._left_out += tag == self._left_out_tag
            return
        if tag in _NO_TEXT or (not self._navigation and _is_navigation(tag, attrs)):
            self._left_out, self._left_out_tag = 1, tag
        elif tag == "title":
            self._title = []
        elif tag == "meta":
            self._meta(dict(attrs))
        elif len(tag) == 2 and tag[0] == "h" and tag[1] in "123456":
            self._end_heading()
            self._end_table()
            self._paragraph()
            self._heading = (self.length, int(tag[1]))
        elif tag == "pre":
            self._paragraph()
            if self._pre < 0:
                self._pre = self.length
        elif tag in ("td", "th"):
            if self._row is not None and self._row:
                self._text.write(" | ")
                self._ends_with_space = True
            if self._row is not None:
                self._row.append(tag)
        elif tag in _PARAGRAPHS:
            if tag == "table":
                self._table_depth += 1
                self._end_table()
                self._paragraph()
                self._table = self.length if self._table_depth == 1 else -1
            elif self._row is None:
                self._paragraph()
            else:
                self._space()
        elif tag in _LINES:
            if tag == "tr":
                self._row = []
            self._newline()
            if tag == "li":
                self._text.write("- ")
                self._ends_with_space = True

    def handle_endtag(self, tag: str) -> None:
        if self._left_out:
            self._left_out -= tag == self._left_out_tag
        elif tag == "title" and self._title is not None:
            self.metadata.setdefault("title", _SPACE.sub(" ", "".join(self._title)).strip())
            self._title = None
        elif len(tag) == 2 and tag[0] == "h" and tag[1] in "123456":
            self._end_heading()
        elif tag == "pre" and self._pre >= 0:
            self._newline()
            if self._table_depth == 0:
                self.blocks.add("code", self._pre, self.length)
            self._pre = -1
        elif tag == "tr":
            self._row = None
            self._newline()
        elif tag in _PARAGRAPHS:
            if tag == "table":
                self._row = None
                self._end_table()
                self._table_depth = max(0, self._table_depth - 1)
            if self._row is None:
                self._paragraph()

    def handle_data(self, data: str) -> None:
        if self._left_out:
            return
        if self._title is not None:
            self._title.append(data)
        elif self._pre >= 0:
            self._text.write(data)
            self._ends_with_space = data.endswith((" ", "\n"))
        else:
            text = _SPACE.sub(" ", data)
            if self._ends_with_space:
                text = text.lstrip(" ")
            if text:
                self._text.write(text)
                self._ends_with_space = text.endswith(" ")

    def _meta(self, fields: dict[str, str | None]) -> None:
        name, content = fields.get("name"), fields.get("content")
        if name and content and name.lower() in ("author", "description", "keywords", "date"):
            self.metadata.setdefault(name.lower(), content.strip())

    def _space(self) -> None:
        if not self._ends_with_space:
            self._text.write(" ")
            self._ends_with_space = True

    def _newline(self) -> None:
        if self._text.parts and not self._text.parts[-1].endswith("\n"):
            self._text.write("\n")
        self._ends_with_space = True

    def _paragraph(self) -> None:
        self._newline()
        parts = self._text.parts
        if parts and not parts[-1].endswith("\n\n"):
            parts[-1] += "\n"
            self._text.length += 1

    def _end_heading(self) -> None:
        if self._heading is None:
            return
        start, level = self._heading
        self._heading = None
        title = self._since(start).strip().rstrip("¶#").strip()
        self._paragraph()
        if title and start >= self.blocks.covered:
            self.blocks.heading(start, self.length, level, title)

    def _end_table(self) -> None:
        start, self._table = self._table, -1
        if start < 0 or start < self.blocks.covered:
            return
        self._newline()
        text = self._since(start)
        if "|" in text:
            self.blocks.add("table", start, self.length, text.partition("\n")[0].strip())

    def _since(self, start: int) -> str:
        """The text from an offset, which is not far back as a rule."""
        parts: list[str] = []
        at = self.length
        for part in reversed(self._text.parts):
            if at <= start:
                break
            at -= len(part)
            parts.append(part if at >= start else part[start - at :])
        return "".join(reversed(parts))


def _is_navigation(tag: str, attrs: list[tuple[str, str | None]]) -> bool:
    if tag in _LEFT_OUT:
        return True
    for name, value in attrs:
        if name in ("hidden", "aria-hidden") and tag not in ("body", "html"):
            return name == "hidden" or value == "true"
        if name == "role" and value in _ROLES:
            return True
        if name == "class" and value and not _LEFT_OUT_CLASSES.isdisjoint(value.split()):
            return True
    return False


def html(text: str, characters: int) -> tuple[str, list[Block], dict[str, str]]:
    """Text, blocks and metadata of an HTML file. Raises Unread "too large"."""
    parser = Html(characters)
    parser.feed(text)
    found = parser.finish()
    if parser.left_open:
        parser = Html(characters, navigation=True)
        parser.feed(text)
        found = parser.finish()
    return found, parser.blocks, parser.metadata
