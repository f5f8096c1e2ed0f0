"""A folder as the source of an index: its files, read and cut into chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from cactus.compat import Unpack
from cactus.documents.chunk import CHUNKER_VERSION, chunk
from cactus.documents.read import READERS_VERSION, Reader, Transcribe
from cactus.documents.types import Chunk, Document, Limits, Skipped
from cactus.documents.walk import FileEntry, walk
from cactus.inputs.text import reason_of
from cactus.retrieval.types import Loaded, Read

if TYPE_CHECKING:
    from cactus.retrieval.types import Embedder

TARGET, MOST = 180, 220
"""Tokens of a chunk; with what it stands under it fits encoders that see 256."""
OVERLAP = 0.15
_PIECE = 1 << 20


class FolderOptions(TypedDict, total=False):
    """What of a folder is read.

    include, exclude, hidden   as for `documents.walk.walk`
    limits, transcribe         as for `documents.read.Reader`
    speech                     names what transcribes recordings: files that could not be read are
                               tried again with another one
    """

    include: Sequence[str]
    exclude: Sequence[str]
    hidden: bool
    limits: Limits | None
    transcribe: Transcribe | None
    speech: str


class Folder:
    """The documents of a folder. Close it: it owns the process that reads PDFs."""

    def __init__(self, root: Path, embedder: Embedder, **options: Unpack[FolderOptions]) -> None:
        self._root, self._embedder, self._options = root, embedder, options
        self._reader = Reader(options.get("limits"), options.get("transcribe"))
        share = min(1.0, embedder.max_tokens / 256)
        self._target, self._most = max(8, int(TARGET * share)), max(10, int(MOST * share))
        self.version = f"{READERS_VERSION}.{CHUNKER_VERSION} {self._target}-{self._most}"
        self.abilities = options.get("speech", "")

    def close(self) -> None:
        """End that process."""
        self._reader.close()

    def walk(self) -> Iterator[FileEntry | Skipped]:
        """The files of the folder, and what is left out."""
        options = self._options
        return walk(
            self._root,
            include=options.get("include", ()),
            exclude=options.get("exclude", ()),
            hidden=options.get("hidden", False),
        )

    def load(self, entry: FileEntry) -> Loaded | Skipped:
        """A file's content and its digest. A recording's is not held."""
        data = self._reader.load(entry)
        if isinstance(data, Skipped):
            return data
        digest = hashlib.sha256(data or b"")
        if data is None:
            try:
                with open(entry.path, "rb") as file:
                    while piece := file.read(_PIECE):
                        digest.update(piece)
            except OSError as error:
                return Skipped(entry.name, "unreadable", reason_of(error))
        return Loaded(digest.digest(), data)

    def read(self, entry: FileEntry, loaded: Loaded) -> Read | Skipped:
        """A file's chunks."""
        document = self._reader.read(entry, loaded.data)
        if isinstance(document, Skipped):
            return document
        return Read({**document.metadata, "kind": document.kind}, self._chunks(document))

    def _chunks(self, document: Document) -> Iterator[Chunk]:
        return chunk(
            document,
            self._embedder.token_offsets,
            target=self._target,
            most=self._most,
            overlap=OVERLAP,
        )
