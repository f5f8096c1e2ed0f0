"""What an index is made of and with, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict, TypeGuard

from cactus.documents.types import Chunk, Skipped, Summary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cactus.calls.stop_flag import StopFlag
    from cactus.documents.walk import FileEntry
    from cactus.images.picture import Picture

Mode = Literal["hybrid", "dense", "lexical"]


class SearchOptions(TypedDict, total=False):
    """What a search may be told; `Index.search` and `Corpus.search` describe it."""

    mode: Mode
    paths: str | Sequence[str] | None
    metadata: Mapping[str, str | Sequence[str]] | None
    neighbours: int
    floor: bool


class Embedder(Protocol):
    """What makes vectors of texts."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes when the same texts give other vectors."""
        ...

    @property
    def dimensions(self) -> int:
        """Values of a vector."""
        ...

    @property
    def max_tokens(self) -> int:
        """How much of a text it sees."""
        ...

    def embed(
        self,
        texts: Sequence[str],
        kind: Literal["query", "document"],
        *,
        stop: StopFlag | None = None,
    ) -> NDArray[np.float32]:
        """Vectors [n, dimensions] of unit length or zero. Longer texts are cut."""
        ...

    def token_offsets(self, text: str) -> Sequence[int] | NDArray[np.int64]:
        """The offsets of the characters where the tokens of a text begin, in order."""
        ...


class ImageEmbedder(Embedder, Protocol):
    """What makes vectors of texts and images in one space: an index made with it has pictures."""

    def embed_images(
        self, images: Sequence[Picture], *, stop: StopFlag | None = None
    ) -> NDArray[np.float32]:
        """Vectors [n, dimensions] of unit length."""
        ...


def sees(embedder: Embedder) -> TypeGuard[ImageEmbedder]:
    """Whether it makes vectors of images, too."""
    return hasattr(embedder, "embed_images")


class Ranked(Protocol):
    """What a reranker says of one text: its place in the list it was given, and its score."""

    @property
    def index(self) -> int: ...

    @property
    def score(self) -> float: ...


Reranker = Callable[[str, Sequence[str]], Sequence[Ranked]]
"""Called with a query and texts; gives the score of each, in any order."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A file's content, or None for what is not held in memory, and the digest of it."""

    digest: bytes
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Read:
    """A document: what is known of it, and its chunks in order; of a picture it is one."""

    metadata: dict[str, str]
    chunks: Iterator[Chunk]
    picture: Picture | None = None


class Source(Protocol):
    """The documents that an index is made of."""

    @property
    def version(self) -> str:
        """Changes when the same files give other chunks."""
        ...

    @property
    def abilities(self) -> str:
        """Changes when files that could not be read may be readable now."""
        ...

    def walk(self) -> Iterator[FileEntry | Skipped]:
        """The files, and what is left out."""
        ...

    def load(self, entry: FileEntry) -> Loaded | Skipped:
        """The content of a file."""
        ...

    def read(self, entry: FileEntry, loaded: Loaded) -> Read | Skipped:
        """The chunks of what was loaded."""
        ...


@dataclass(slots=True)
class SyncReport:
    """What a sync found and did; files are counted.

    skipped     what was left out or could not be read, by reason
    failed      how many of these were opened and could not be read: they are not tried again until
                their content changes
    chunks      in the index now
    embedded    chunks whose vectors were computed; others were kept, or stood elsewhere already
    rebuilt     why the whole index was made anew, or ""
    """

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    failed: int = 0
    chunks: int = 0
    embedded: int = 0
    rebuilt: str = ""
    skipped: Summary = field(default_factory=Summary)


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that a search found.

    score       0 to 1, how likely it belongs to the question; comparable between queries
    text        exactly the document's text from `start` to `end`, in characters
    source      the file, relative to the folder, with slashes
    heading     the path of headings above it, "A > B", or ""
    page, line  where it begins, from 1; None for kinds without them
    time        (start, end) in seconds of a recording
    dense       the cosine of its vector and the query's, None where it was not compared
    lexical     the share of the query's words that are in it, rare words counting more
    also        other places with nearly the same text: (source, start, end)
    """

    score: float
    text: str
    source: str
    start: int
    end: int
    heading: str = ""
    page: int | None = None
    line: int | None = None
    time: tuple[float, float] | None = None
    chunk_id: int = 0
    tokens: int = 0
    dense: float | None = None
    lexical: float = 0.0
    metadata: dict[str, str] = field(default_factory=dict)
    also: tuple[tuple[str, int, int], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As JSON takes it; `content` is `text` under another name."""
        return {
            "score": self.score,
            "text": self.text,
            "content": self.text,
            "source": self.source,
            "start": self.start,
            "end": self.end,
            "heading": self.heading,
            "page": self.page,
            "line": self.line,
            "time": list(self.time) if self.time else None,
            "chunk_id": self.chunk_id,
            "dense": self.dense,
            "lexical": self.lexical,
            "also": [list(place) for place in self.also],
        }
