"""Changes of an index: each file whole, in transactions that end between two files."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cactus.errors import Cancelled, CorpusError
from cactus.retrieval.types import sees
from cactus.retrieval.words import searchable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cactus.calls.stop_flag import StopFlag
    from cactus.documents.types import Chunk, Skipped
    from cactus.documents.walk import FileEntry
    from cactus.images.picture import Picture
    from cactus.retrieval.types import Embedder

BATCH = 256
"""Texts that the embedder gets at a time, at most; it sorts them by length."""

PICTURES, PIXELS = 16, 32_000_000
"""Pictures that the embedder gets at a time, and pixels that wait for it."""

_COMMIT_SECONDS = 2.0
_COMMIT_CHUNKS = 1024
"""After so long, or so many chunks, what is whole is kept. A killed process loses the rest."""


def whole_text(heading: str, header: str, text: str) -> str:
    """What of a chunk is embedded, and has its words: the text below what it stands under."""
    return "\n".join(part for part in (heading, header, text) if part)


class Writer:
    """The changes of one sync. `begin`, `add` for each chunk, and `end` put a file into the index.

    Nothing of a file is seen by others before its end. Raises Cancelled when `stop` says so.
    """

    def __init__(self, db: sqlite3.Connection, embedder: Embedder, stop: StopFlag | None) -> None:
        self._db, self._embedder, self._stop = db, embedder, stop
        self._waiting: list[tuple[int, str]] = []  # chunks without a vector
        self._pictures: list[tuple[int, Picture]] = []  # the same, of pictures
        self._committed, self._chunks = time.monotonic(), 0
        self._file = self._before = 0
        self._known: dict[bytes, int] = {}
        self._digest = b""
        self.embedded = 0

    def begin(
        self, entry: FileEntry, mtime_ns: int, digest: bytes, metadata: dict[str, str]
    ) -> None:
        """Begin to add a file, or to replace it; its old chunks leave at the end."""
        self._transaction()
        # Chunks that stood in the file before, or stand in one of the same content: a file that
        # was renamed, or in which a line was changed, keeps its vectors.
        same = self._db.execute(
            "SELECT id FROM files WHERE name = ?1 UNION SELECT id FROM"
            " (SELECT id FROM files WHERE digest = ?2 AND reason IS NULL LIMIT 1)",
            (entry.name, digest),
        ).fetchall()
        self._known = {key: chunk for (file,) in same for key, chunk in self._keys(file)}
        self._digest = digest
        self._before = self._db.execute("SELECT coalesce(max(id), 0) FROM chunks").fetchone()[0]
        self._file = self._note(entry, mtime_ns, digest, None, metadata)

    def add(self, chunk: Chunk, picture: Picture | None = None) -> None:
        """Add the next chunk of the file, which has the vector of its text or of a picture."""
        begins, ends = chunk.time or (None, None)
        number = self._db.execute(
            "INSERT INTO chunks (file, start, stop, tokens, page, line, begins, ends, heading,"
            " header, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(self._file, chunk.start, chunk.end, chunk.tokens, chunk.page, chunk.line),
                *(begins, ends, chunk.heading, chunk.header, chunk.text),
            ),
        ).lastrowid
        assert number is not None
        text = whole_text(chunk.heading, chunk.header, chunk.text)
        self._db.execute(
            "INSERT INTO words (rowid, text) VALUES (?, ?)", (number, searchable(text))
        )
        self._chunks += 1
        known = self._known.get(_key(text)) if picture is None else self._twin()
        if known is None:
            self._wait(number, text, picture)
        else:
            self._db.execute(
                "INSERT INTO vectors SELECT ?, vector FROM vectors WHERE chunk = ?", (number, known)
            )
        if self._stop:
            raise Cancelled("indexing was stopped; the files that were done are kept")

    def _twin(self) -> int | None:
        """A chunk of another file with the same content, as of one that was renamed."""
        row = self._db.execute(
            "SELECT chunk FROM vectors JOIN chunks ON chunks.id = chunk JOIN files ON files.id ="
            " file WHERE digest = ? AND files.id <> ? LIMIT 1",
            (self._digest, self._file),
        ).fetchone()
        return None if row is None else int(row[0])

    def _wait(self, number: int, text: str, picture: Picture | None) -> None:
        """Let a chunk wait for its vector, with others."""
        if picture is None:
            self._waiting.append((number, text))
        else:
            self._pictures.append((number, picture))
        pixels = sum(waits.width * waits.height for _, waits in self._pictures)
        if len(self._waiting) >= BATCH or len(self._pictures) >= PICTURES or pixels >= PIXELS:
            self._embed()

    def end(self) -> None:
        """The file is whole: its old chunks leave, and it may be kept."""
        self._drop(f"file = {self._file} AND id <= {self._before}")
        self._known = {}
        if self._chunks >= _COMMIT_CHUNKS or time.monotonic() - self._committed >= _COMMIT_SECONDS:
            self.commit()

    def refuse(self, entry: FileEntry, mtime_ns: int, digest: bytes, skipped: Skipped) -> None:
        """Remember that a file cannot be read, until its content changes."""
        self._transaction()
        file = self._note(entry, mtime_ns, digest, skipped, {})
        self._drop(f"file = {file}")

    def touch(self, name: str, size: int, mtime_ns: int) -> None:
        """The file has its content still."""
        self._transaction()
        self._db.execute(
            "UPDATE files SET size = ?, mtime_ns = ? WHERE name = ?", (size, mtime_ns, name)
        )

    def remove(self, file: int) -> None:
        """The file has gone."""
        self._transaction()
        self._drop(f"file = {file}")
        self._db.execute("DELETE FROM files WHERE id = ?", (file,))

    def clear(self, **meta: object) -> None:
        """Take everything out, note something and keep that."""
        self._transaction()
        for table in ("chunks", "vectors", "files", "meta"):
            self._db.execute(f"DELETE FROM {table}")
        self._db.execute("INSERT INTO words (words) VALUES ('delete-all')")
        self._db.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        self.commit()

    def commit(self) -> None:
        """Keep what was done; between two files only."""
        self._embed()
        if self._db.in_transaction:
            self._db.execute("COMMIT")
        self._committed, self._chunks = time.monotonic(), 0

    def _transaction(self) -> None:
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
            self._committed = time.monotonic()

    def _note(
        self,
        entry: FileEntry,
        mtime_ns: int,
        digest: bytes,
        skipped: Skipped | None,
        metadata: dict[str, str],
    ) -> int:
        """Write down a file; returns its number."""
        reason, detail = (skipped.reason, skipped.detail) if skipped else (None, None)
        self._db.execute(
            "INSERT INTO files (name, size, mtime_ns, digest, reason, detail, metadata)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET size = excluded.size,"
            " mtime_ns = excluded.mtime_ns, digest = excluded.digest, reason = excluded.reason,"
            " detail = excluded.detail, metadata = excluded.metadata",
            (entry.name, entry.size, mtime_ns, digest, reason, detail, json.dumps(metadata)),
        )
        number = self._db.execute("SELECT id FROM files WHERE name = ?", (entry.name,)).fetchone()
        return int(number[0])

    def _keys(self, file: int) -> Iterator[tuple[bytes, int]]:
        rows = self._db.execute(
            "SELECT id, heading, header, text FROM chunks JOIN vectors ON chunk = id"
            " WHERE file = ?",
            (file,),
        )
        for number, heading, header, text in rows:
            yield _key(whole_text(heading, header, text)), number

    def _drop(self, where: str) -> None:
        rows = self._db.execute(f"SELECT id, heading, header, text FROM chunks WHERE {where}")
        while some := rows.fetchmany(256):
            numbers = [(row[0],) for row in some]
            # A table of words without the texts takes them out by what was put in.
            self._db.executemany(
                "INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)",
                [(row[0], searchable(whole_text(*row[1:]))) for row in some],
            )
            self._db.executemany("DELETE FROM vectors WHERE chunk = ?", numbers)
        self._db.execute(f"DELETE FROM chunks WHERE {where}")

    def _embed(self) -> None:
        """Give all that waits their vectors."""
        if self._waiting:
            numbers, texts = zip(*self._waiting, strict=True)
            self._put(numbers, self._embedder.embed(texts, "document", stop=self._stop))
            self._waiting.clear()
        if self._pictures:
            assert sees(self._embedder)
            numbers, pictures = zip(*self._pictures, strict=True)
            self._put(numbers, self._embedder.embed_images(pictures, stop=self._stop))
            self._pictures.clear()

    def _put(self, numbers: Sequence[int], vectors: NDArray[np.float32]) -> None:
        import numpy as np

        expected = (len(numbers), self._embedder.dimensions)
        if vectors.shape != expected or not np.isfinite(vectors).all():
            raise CorpusError(
                f"the embedder {self._embedder.name} gave an array of the shape {vectors.shape} "
                f"or numbers that are not finite, expected finite ones of the shape {expected}"
            )
        self._db.executemany(
            "INSERT INTO vectors VALUES (?, ?)",
            zip(numbers, map(bytes, vectors.astype("<f2")), strict=True),
        )
        self.embedded += len(numbers)


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
