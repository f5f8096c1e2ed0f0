"""Where an offset of a document's text lies: its page, its line, its time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from cactus.documents.types import Document


class Places:
    """Places of one document. Lines are counted once when offsets are asked for in order."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._line, self._counted = 1, 0
        self._line_starts = [offset for offset, _ in document.lines]
        self._time_starts = [offset for offset, *_ in document.times]

    def page(self, offset: int) -> int | None:
        """The page, from 1."""
        pages = self._document.pages
        return max(1, bisect_right(pages, offset)) if pages else None

    def line(self, offset: int) -> int | None:
        """The line of the file, from 1; lines end with a line feed, a carriage return or both."""
        document = self._document
        if document.lines:
            return document.lines[max(0, bisect_right(self._line_starts, offset) - 1)][1]
        if document.encoding is None:
            return None
        if offset < self._counted:
            self._line, self._counted = 1, 0
        part = document.text[self._counted : offset]
        self._line += part.count("\n")
        if "\r" in part:
            self._line += part.count("\r") - part.count("\r\n")
        if part.endswith("\r") and document.text.startswith("\n", offset):
            self._line -= 1
        self._counted = offset
        return self._line

    def time(self, start: int, end: int) -> tuple[float, float] | None:
        """From when to when, in seconds, what is in `[start, end)` was said."""
        times = self._document.times
        if not times:
            return None
        first = max(0, bisect_right(self._time_starts, start) - 1)
        last = max(first, bisect_left(self._time_starts, end) - 1)
        return times[first][1], times[last][2]
