"""The lines of a text with their offsets; a text, and a list of blocks, that grow."""

from __future__ import annotations

from collections.abc import Iterator

from cactus.documents.types import Block, BlockKind
from cactus.documents.unread import Unread

_MOST = 1_000_000  # blocks of a document; a file of nothing but headings would fill the memory


def lines_of(text: str, start: int = 0) -> Iterator[tuple[int, int, str]]:
    """(start, end, line) of each line; the newline is within the range and not in the line."""
    at, end = start, len(text)
    while at < end:
        stop = text.find("\n", at) + 1 or end
        yield at, stop, text[at:stop].rstrip("\r\n")
        at = stop


class Text:
    """A text that grows: `parts`, and the `length` of all. Unread past so many `characters`."""

    def __init__(self, characters: int) -> None:
        self.parts: list[str] = []
        self.length = 0
        self._most = characters

    def __str__(self) -> str:
        return "".join(self.parts)

    def write(self, text: str) -> None:
        """Go on with that."""
        self.parts.append(text)
        self.length += len(text)
        if self.length > self._most:
            raise Unread("too large", f"more than {self._most:,} characters of text")


class Blocks(list[Block]):
    """Blocks of a text in order, of which only those that are not text need to be named."""

    def __init__(self, start: int = 0) -> None:
        super().__init__()
        self.covered = start

    def heading(self, start: int, end: int, level: int, title: str) -> None:
        """A heading in `[start, end)`; what lies before it is text."""
        self.text(start)
        self._take(Block("heading", start, end, level, title))
        self.covered = end

    def add(self, kind: BlockKind, start: int, end: int, title: str = "") -> None:
        """A block in `[start, end)`, as far as that is not covered; what lies before it is text."""
        start = max(start, self.covered)
        self.text(start)
        if start < end:
            self._take(Block(kind, start, end, 0, title))
            self.covered = end

    def text(self, end: int) -> None:
        """What is not covered up to `end` is text."""
        if self.covered < end:
            self._take(Block("text", self.covered, end))
            self.covered = end

    def _take(self, block: Block) -> None:
        if len(self) >= _MOST:
            raise Unread("too large", f"more than {_MOST:,} headings and other blocks")
        self.append(block)
