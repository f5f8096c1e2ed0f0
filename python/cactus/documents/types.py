"""What reading gives: documents, their blocks and chunks, and what was skipped for which reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

Reason = Literal[
    "hidden",
    "ignored",
    "link",
    "outside",
    "special",
    "unreadable",
    "gone",
    "too large",
    "binary",
    "unsupported",
    "encrypted",
    "damaged",
    "too slow",
    "too much memory",
    "crashed",
    "empty",
    "not installed",
]

REASONS: tuple[Reason, ...] = get_args(Reason)
"""Why a file or a folder is not read:

hidden           its name begins with a dot
ignored          a .gitignore or the caller leaves it out
link             a symbolic link to what is read under its own name, or to nothing
outside          a symbolic link that leads out of the root
special          a FIFO, a socket or a device
unreadable       no permission, the disk failed, or the process that read it was killed
gone             it was deleted or replaced while it was to be read
too large        it is longer than a limit of `Limits`
binary           it is not text, and no reader knows its kind
unsupported      a known kind that is not read, as pictures
encrypted        it wants a password
damaged          it is not what its name says, or broken
too slow         reading it took longer than the limit
too much memory  reading it took more memory than the limit
crashed          its reader ended: it is broken, or took more memory than the limit
empty            there is no text in it
not installed    the package that reads it is missing; the detail says which
"""

BlockKind = Literal["heading", "text", "code", "lines", "table"]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file or folder that was not read. `path` is relative to the root, with slashes."""

    path: str
    reason: Reason
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}{f' ({self.detail})' if self.detail else ''}"


@dataclass(slots=True)
class Summary:
    """How much was skipped for which reason, with the first few files of each.

    Its size does not grow with the number of files.
    """

    counts: Counter[Reason] = field(default_factory=Counter)
    examples: dict[Reason, list[Skipped]] = field(default_factory=dict)
    kept: int = 10

    def add(self, skipped: Skipped) -> None:
        """Count one."""
        self.counts[skipped.reason] += 1
        examples = self.examples.setdefault(skipped.reason, [])
        if len(examples) < self.kept:
            examples.append(skipped)

    @property
    def total(self) -> int:
        """How many files and folders were skipped."""
        return self.counts.total()

    def __str__(self) -> str:
        parts = [f"{count:,} {reason}" for reason, count in self.counts.most_common()]
        return f"skipped {self.total:,}: {', '.join(parts)}" if parts else "nothing skipped"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may cost. What is over a limit is skipped as a whole, and never cut.

    text_bytes       a file that is text: 64 MiB
    binary_bytes     a PDF, office or EPUB file: 256 MiB
    unpacked_bytes   what an archive's members, or a picture of pages, unpack to: 256 MiB
    characters       text that a reader makes of a file: 64 Mi
    seconds          of work on one file that a process of its own reads
    memory_bytes     address space of that process, where the system can limit it: 2 GiB
    """

    text_bytes: int = 64 << 20
    binary_bytes: int = 256 << 20
    unpacked_bytes: int = 256 << 20
    characters: int = 64 << 20
    seconds: float = 120.0
    memory_bytes: int = 2 << 30


class Block(NamedTuple):
    """A stretch `[start, end)` of a document's text.

    heading   begins a section; `level` from 1, `title` as it stands in a path. It may be empty
              where the text has no line for it.
    text      paragraphs of sentences
    code      kept whole where it fits
    lines     may be cut between any two lines
    table     the same; `title` is its header row
    """

    kind: BlockKind
    start: int
    end: int
    level: int = 0
    title: str = ""


@dataclass(slots=True)
class Document:
    """A file as text with places.

    kind        what was read: text, markdown, pdf ...
    blocks      in order, without overlaps; what lies before the first is in no chunk
    metadata    title, author, date ... as the file says
    pages       where each page begins, for kinds that have pages
    times       (offset, start, end in seconds) of each segment, for recordings
    lines       (offset, line) where the text is not the file's own but lines of it are known
    encoding    that of the file, where `text` is exactly its content; lines count from there
    notes       what a reader should know: bytes that were not valid, what was left out
    """

    text: str
    blocks: list[Block]
    kind: str
    metadata: dict[str, str] = field(default_factory=dict)
    pages: Sequence[int] = ()
    times: Sequence[tuple[int, float, float]] = ()
    lines: Sequence[tuple[int, int]] = ()
    encoding: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document: `text` is exactly the document's `text[start:end]`.

    heading   the path of headings it lies under, "A > B", or ""
    header    the header row of a table that it begins inside of, or ""
    page      where it begins, from 1; None for kinds without pages
    line      of the file where it begins, from 1; None for kinds without lines
    time      (start, end) in seconds of a recording
    tokens    of `text`, counted as the caller's tokenizer did in the whole document
    """

    text: str
    start: int
    end: int
    heading: str
    header: str
    page: int | None
    line: int | None
    time: tuple[float, float] | None
    tokens: int
