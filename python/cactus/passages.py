"""Passages of documents: what an answer was made from, and which of its sentences they support."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of a document that a model was given; `number` is what it cites it by.

    `source` is the file's path relative to the folder. `start` and `end` are characters of the
    document's text as it was read. `line` counts from 1 where the file has lines, `page` where it
    has pages; `time` is seconds where it is a recording. `heading` is the path of headings above
    it, "A > B". `score`, 0 to 1, is how well it fits what was asked; None where nothing was
    searched for.
    """

    number: int
    text: str
    source: str
    start: int
    end: int
    heading: str = ""
    line: int | None = None
    page: int | None = None
    time: float | None = None
    score: float | None = None

    @property
    def place(self) -> str:
        """Where it stands, to be read: "guide.md:12", "book.pdf, page 3", "talk.mp3, 1:05"."""
        return place(self.source, self.line, self.page, self.time)


@dataclass(frozen=True, slots=True)
class Citation:
    """A sentence of an answer and the passage that supports it.

    `answer_start` and `answer_end` are where the sentence stands in the answer's text. `text` is
    what supports it, quoted from the document, where it stands from `start` to `end`. `written`:
    the model named the passage itself, by the `number`; otherwise it was found by what both say.
    `support`, 0 to 1, is how much of the sentence the passage says, too.
    """

    number: int
    source: str
    start: int
    end: int
    text: str
    answer_start: int
    answer_end: int
    heading: str = ""
    line: int | None = None
    page: int | None = None
    time: float | None = None
    written: bool = False
    support: float = 0.0

    @property
    def place(self) -> str:
        """Where it stands, to be read, as of a `Passage`."""
        return place(self.source, self.line, self.page, self.time)

    def as_dict(self) -> dict[str, Any]:
        """Its fields, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Reading:
    """What of a folder of documents an answer was made from. ``str`` of it says how much.

    `query` is what was searched for. `passages` were found for this question; some may have been
    shown with an earlier one already. `chunks` are all that there are. `whole`: documents were
    given whole: all, if they are that short, else the one in which all is that was found. `found`:
    something was similar enough to the question; where nothing was, the model was told so, or not
    even asked. `notes` say what was wrong with the numbers that the answer cites.
    """

    query: str
    passages: tuple[Passage, ...]
    chunks: int
    whole: bool = False
    found: bool = True
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{len(self.passages):,} of {self.chunks:,} {'chunk' if self.chunks == 1 else 'chunks'}"
        )


def place(source: str, line: int | None, page: int | None, time: float | None) -> str:
    """Where something stands in a file, to be read."""
    if page is not None:
        return f"{source}, page {page}"
    if time is not None:
        minutes, seconds = divmod(int(time), 60)
        return f"{source}, {minutes}:{seconds:02d}"
    return source if line is None else f"{source}:{line}"
