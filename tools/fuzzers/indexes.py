"""Index files of document folders, opened, searched and brought up to date.

The pages of the SQLite file are changed as bytes; values in its tables, and the tables, by SQL. A
search gives hits with texts or is a CorpusError; a sync makes what it finds damaged anew, with all
documents.
"""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from cactus.errors import CorpusError
from cactus.retrieval.index import Index
from fuzzers.base import NUMBERS, Case, Fuzzer, change_bytes, packed
from tests.retrieval.conftest import FRUIT, SKY
from tests.retrieval.made import Paragraphs, WordEmbedder

VALUES = (None, "", "x", b"", b"\xff" * 7, -1, 0, 1, 2.5, 2**62, "\ud7ff", "a" * 10_000, b"\0" * 96)


class Fuzz(Fuzzer):
    """Indexes."""

    errors = (CorpusError,)
    cpu_seconds = 4.0

    def __init__(self, scratch: Path) -> None:
        self.folder, self.cache = scratch / "documents", scratch / "cache"
        self.folder.mkdir()
        (self.folder / "fruit.md").write_text(FRUIT, "utf-8")
        (self.folder / "moon.txt").write_text(SKY, "utf-8")
        self.source, self.embedder = Paragraphs(self.folder), WordEmbedder()
        with closing(self._index()) as index:
            index.sync()
            self.path = index.path
            self.chunks = index.chunks
        self._forget_log()
        self.seed = self.path.read_bytes()
        with closing(sqlite3.connect(self.path)) as db:
            self.columns = [
                (table, column)
                for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
                for _, column, *_ in db.execute(f"PRAGMA table_info({table})")
            ]

    def _index(self) -> Index:
        return Index(self.folder, self.source, self.embedder, self.cache)

    def _forget_log(self) -> None:
        with closing(sqlite3.connect(self.path)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.execute("PRAGMA journal_mode = DELETE")

    def make(self, rng: random.Random) -> Case:
        """A damaged index."""
        if rng.random() < 0.5:
            return Case("bytes", self._bytes(rng, self.seed))
        return Case("tables", self._tables(rng))

    def mutate(self, rng: random.Random, case: Case, other: Case) -> Case:
        """Bytes of the file."""
        return Case("bytes", self._bytes(rng, case.data))

    def _bytes(self, rng: random.Random, data: bytes) -> bytes:
        if rng.random() < 0.5:
            at = rng.choice((16, 24, 28, 32, 36, 44, 56, 60, 68, 92, 96, 100, 103, 105))
            value = packed(">", rng.choice("BHI"), rng.choice(NUMBERS))
            return data[:at] + value + data[at + len(value) :]
        if rng.random() < 0.5:
            page = 4096 * rng.randrange(1, max(2, len(data) // 4096))
            return (
                data[:page] + change_bytes(rng, data[page : page + 4096], b"") + data[page + 4096 :]
            )
        return change_bytes(rng, data, self.seed)[: 4 << 20]

    def _tables(self, rng: random.Random) -> bytes:
        path = self.path.with_name("made.sqlite")
        path.write_bytes(self.seed)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA ignore_check_constraints = ON")
            for _ in range(rng.choice((1, 1, 2, 3))):
                table, column = rng.choice(self.columns)
                where = rng.choice(("", " WHERE rowid = 1", " WHERE rowid % 2 = 0"))
                value = rng.choice((*VALUES, rng.choice(NUMBERS) % 2**63))
                with suppress(sqlite3.Error, OverflowError, UnicodeEncodeError):
                    action = rng.randrange(8)
                    if action == 0:
                        db.execute(f"DELETE FROM {table}{where}")
                    elif action == 1:
                        db.execute(f"ALTER TABLE {table} RENAME COLUMN {column} TO other")
                    elif action == 2:
                        db.execute(f"DROP TABLE {table}")
                    else:
                        db.execute(f"UPDATE OR IGNORE {table} SET {column} = ?{where}", (value,))
        return path.read_bytes()

    def run(self, case: Case) -> None:
        """Search it as it is, then bring it up to date and search again."""
        for ending in ("-wal", "-shm", "-journal"):
            Path(f"{self.path}{ending}").unlink(missing_ok=True)
        self.path.write_bytes(case.data)
        with closing(self._index()) as index:
            with suppress(CorpusError):
                self._use(index)
            report = index.sync()
            self._use(index)
            if report.rebuilt:
                assert index.chunks == self.chunks

    def _use(self, index: Index) -> None:
        hits = list(index.all(50)) + index.document("fruit.md", 1000)
        for query in ("apples in the garden", "os.path.join", "東京都"):
            hits += index.search(query)
            hits += index.search(query, mode="dense", paths="*.md", neighbours=2, floor=False)
            hits += index.search(query, mode="lexical", metadata={"kind": "text"})
        for hit in hits:
            assert hit.source and len(hit.text) == hit.end - hit.start, hit
            assert 0 <= hit.score <= 1, hit
            json.dumps(hit.as_dict())
        _ = index.files, index.chunks, index.tokens
