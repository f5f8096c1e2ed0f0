"""A document cut into chunks that a text encoder takes: by sections, paragraphs, sentences, lines.

The tokens of the document are asked for once. Everything after is arithmetic on their offsets.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from cactus.documents.places import Places
from cactus.documents.sentences import sentence_starts
from cactus.documents.types import Chunk, Document
from cactus.errors import InvalidRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CHUNKER_VERSION = "1"
"""Changes when the same document is cut in other places."""

TokenOffsets = Callable[[str], "Sequence[int] | NDArray[np.int64]"]
"""The offsets of the characters where the tokens of a text begin, in order."""

_WINDOW = 1 << 16  # characters that are tokenized in one call
_WIDEST = 32  # characters that one token may stand for: an encoder's "unknown" swallows long words
_SPACE = re.compile(r"\s")


def chunk(
    document: Document,
    token_offsets: TokenOffsets,
    *,
    target: int = 200,
    most: int = 250,
    overlap: float = 0.15,
) -> Iterator[Chunk]:
    """The chunks of a document in order; together they hold every character that is not space.

    A chunk has at most `most` tokens and, where there is more text, about `target` or more. It
    begins at a heading, else goes on about `overlap` of `target` before the end of the one before
    it, in whole sentences. Code that fits is not cut. A section of a few tokens is joined to the
    next one. A token stands for at most 32 characters, so that a text of which the tokenizer makes
    nothing is cut, too.
    """
    if not 8 <= target <= most:
        raise InvalidRequest(f"target must be 8 to most ({most}) tokens, got {target}")
    if not 0 <= overlap <= 0.5:
        raise InvalidRequest(f"overlap must be from 0 to 0.5, got {overlap}")
    if not document.blocks:
        return
    cutter = _Cutter(document, _tokens(document, token_offsets), target, most, overlap)
    places = Places(document)
    for start, end in cutter.pieces():
        text = document.text[start:end]
        yield Chunk(
            text,
            start,
            end,
            heading=cutter.headings.path(start, end),
            header=cutter.header_at(start),
            page=places.page(start),
            line=places.line(start),
            time=places.time(start, end),
            tokens=cutter.count(start, end),
        )


def _tokens(document: Document, token_offsets: TokenOffsets) -> NDArray[np.int64]:
    """Where the document's tokens begin: [tokens], ascending."""
    import numpy as np

    text, at, end = document.text, document.blocks[0].start, document.blocks[-1].end
    found = [np.empty(0, np.int64)]
    while at < end:
        stop = min(at + _WINDOW, end)
        if stop < end:  # between lines, else between words, else anywhere
            stop = text.rfind("\n", at + 1, stop) + 1 or text.rfind(" ", at + 1, stop) or stop
            if stop <= at:
                stop = at + _WINDOW
        found.append(np.asarray(token_offsets(text[at:stop]), np.int64) + at)
        at = stop
    tokens = np.concatenate(found)
    edges = np.concatenate(([document.blocks[0].start], tokens, [end]))
    gaps = np.diff(edges)
    if gaps.max() > _WIDEST:
        missing = np.maximum(gaps - 1, 0) // _WIDEST  # tokens in each gap
        before = np.cumsum(missing) - missing
        steps = np.arange(missing.sum()) - np.repeat(before, missing) + 1
        more = np.repeat(edges[:-1], missing) + steps * _WIDEST
        tokens = np.sort(np.concatenate([tokens, more]), kind="stable")
    return tokens


class _Headings:
    """The sections of a document: where each begins, and its path."""

    def __init__(self, document: Document) -> None:
        self.starts: list[int] = []
        self._paths: list[str] = []
        above: list[tuple[int, str]] = []
        for block in document.blocks:
            if block.kind == "heading":
                while above and above[-1][0] >= block.level:
                    above.pop()
                above.append((block.level, " ".join(block.title.split())))
                self.starts.append(block.start)
                self._paths.append(" > ".join(title for _, title in above if title))

    def path(self, start: int, end: int) -> str:
        """The path of the section that most of `[start, end)` lies in."""
        first = bisect_right(self.starts, start) - 1
        last = bisect_left(self.starts, end) - 1
        if first < last:
            edges = [start, *self.starts[first + 1 : last + 1], end]
            lengths = [after - before for before, after in pairwise(edges)]
            first += lengths.index(max(lengths))
        return self._paths[first] if first >= 0 else ""


class _Cuts:
    """Places where a text may be cut, with the number of tokens before each."""

    def __init__(self, places: Sequence[int], tokens: NDArray[np.int64]) -> None:
        # Arrays, not lists: a text may have a cut at every second character.
        self.places = places
        self.tokens = array("q", tokens.searchsorted(places).astype("int64").tobytes())

    def last(self, after: int, upto: int) -> int | None:
        """The last place with more than `after` and at most `upto` tokens before it."""
        index = bisect_right(self.tokens, upto) - 1
        return self.places[index] if index >= 0 and self.tokens[index] > after else None


class _Cutter:
    def __init__(
        self,
        document: Document,
        tokens: NDArray[np.int64],
        target: int,
        most: int,
        overlap: float,
    ) -> None:
        self._document = document
        self._tokens = tokens
        self._target, self._most = target, most
        self._shared = int(overlap * target)
        self._least = target // 8
        self.headings = _Headings(document)
        self._sections = _Cuts(self.headings.starts, tokens)
        self._whole: list[tuple[int, int]] = []  # code that is not to be cut
        self._tables = [block for block in document.blocks if block.kind == "table"]
        self._table_starts = [block.start for block in self._tables]
        strong, weak = self._find_cuts()
        self._strong = _Cuts(strong, tokens)
        self._weak = _Cuts(weak, tokens)
        self._whole_starts = [start for start, _ in self._whole]

    def _before(self, places: list[int]) -> list[int]:
        """How many tokens begin before each place."""
        found: list[int] = self._tokens.searchsorted(places).tolist()
        return found

    def count(self, start: int, end: int) -> int:
        """How many tokens begin in `[start, end)`."""
        first, last = self._before([start, end])
        return last - first

    def header_at(self, start: int) -> str:
        """The header row of the table that `start` is inside of."""
        index = bisect_left(self._table_starts, start) - 1
        if index < 0 or start >= self._tables[index].end:
            return ""
        return self._tables[index].title

    def _find_cuts(self) -> tuple[array[int], array[int]]:
        """Where blocks and paragraphs begin; and these with sentences and lines."""
        text = self._document.text
        strong, weak = array("q"), array("q")
        blocks = self._document.blocks
        edges = self._before([edge for block in blocks for edge in (block.start, block.end)])
        after_heading = False
        for index, (kind, start, end, *_) in enumerate(blocks):
            if not after_heading:  # a heading and what it heads stay together
                strong.append(start)
                weak.append(start)
            after_heading = kind == "heading"
            size = edges[2 * index + 1] - edges[2 * index]
            if kind == "text":
                for at, paragraph in sentence_starts(text, start, end):
                    weak.append(at)
                    if paragraph:
                        strong.append(at)
            elif kind in ("lines", "table") or (kind == "code" and size > self._most):
                at = text.find("\n", start, end) + 1
                while 0 < at < end:
                    weak.append(at)
                    if kind == "code" and text.startswith("\n", at - 2):
                        strong.append(at)
                    at = text.find("\n", at, end) + 1
            elif kind == "code":
                self._whole.append((start, end))
        return strong, weak

    def pieces(self) -> Iterator[tuple[int, int]]:
        """The chunks as `[start, end)`, without spaces around them."""
        text, blocks = self._document.text, self._document.blocks
        start = done = blocks[0].start
        end = blocks[-1].end
        while done < end:
            cut, section_ends = self._cut(start, done, end)
            if cut <= done:  # what is repeated leaves no room: begin where the last one ended
                start = done
                continue
            piece = text[start:cut]
            if stripped := piece.strip():
                first = start + len(piece) - len(piece.lstrip())
                if first + len(stripped) > done:  # not only what the last one has
                    yield first, first + len(stripped)
            start = cut if section_ends else self._restart(start, cut)
            done = cut

    def _cut(self, start: int, done: int, end: int) -> tuple[int, bool]:
        """Where the chunk that begins at `start` ends, and whether a section ends there.

        `done` is where the last one ended; from there on it is always after that.
        """
        first = self._before([start])[0]
        index = bisect_right(self._sections.places, done)
        index = max(index, bisect_left(self._sections.tokens, first + self._least))
        if index < len(self._sections.places):
            end = self._sections.places[index]
        rest = self._before([end])[0] - first
        if rest <= self._most:
            return end, True
        # What is left for two chunks is halved, so that no crumb remains.
        upto = first + min(self._most, rest // 2 + self._most - self._target)
        limit = first + self._most
        cut = (
            self._strong.last(first + self._target * 7 // 10, upto)
            or self._weak.last(first + self._target // 2, upto)
            or self._before_whole(start, limit)
            or self._weak.last(first + self._target // 4, limit)
            or self._between_words(start, limit)
        )
        return cut, False

    def _before_whole(self, start: int, limit: int) -> int | None:
        """The beginning of the code that `limit` tokens would cut, if it is after `start`."""
        at = int(self._tokens[limit])
        index = bisect_left(self._whole_starts, at) - 1
        if index < 0:
            return None
        begin, end = self._whole[index]
        return begin if start < begin and at < end else None

    def _between_words(self, start: int, limit: int) -> int:
        """The last place before `limit` tokens that is behind a space, else any place."""
        text = self._document.text
        at = int(self._tokens[limit])
        lowest = int(self._tokens[limit - self._most // 2])
        for place in range(at, max(lowest, start), -1):
            if _SPACE.match(text[place - 1]):
                return place
        return max(at, start + 1)

    def _restart(self, start: int, cut: int) -> int:
        """Where the next chunk begins: some whole sentences before the `cut` of this one."""
        room = 2 * self._shared
        index = bisect_left(self._whole_starts, cut)
        if index < len(self._whole) and self._whole_starts[index] == cut:
            room = min(room, self._most - self.count(*self._whole[index]))
        behind = self._before([cut])[0]
        index = bisect_left(self._weak.places, cut) - 1
        best, distance = cut, self._shared
        while index >= 0 and self._weak.places[index] > start:
            shared = behind - self._weak.tokens[index]
            if shared > room:
                break
            if abs(shared - self._shared) <= distance:
                best, distance = self._weak.places[index], abs(shared - self._shared)
            index -= 1
        return best
