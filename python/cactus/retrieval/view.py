"""What is in an index at the moment, for those who read it: rows, vectors, how common words are."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from cactus.errors import CactusError, CorpusError
from cactus.native.similarity import dot_f16, padded
from cactus.retrieval.store import NONSENSE, Store, is_damage, is_sound, read_meta

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ROWS = 4096


class View:
    """One connection that reads, and what is kept of what it read until the index changes.

    Not for several threads at once.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._db: sqlite3.Connection | None = None
        self._opened: tuple[object, ...] = ()
        self._version = -1
        self.meta: dict[str, Any] = {}
        self.chunks = 0
        self.common: dict[str, int] = {}
        """In how many chunks a stem is, as far as it was asked for."""
        self._ids: NDArray[np.int64] | None = None
        self._files: NDArray[np.int64] | None = None
        self._vectors: NDArray[np.float16] | None = None

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """One state of the index, whatever others write meanwhile.

        Raises CorpusError where there is none, or it is damaged.
        """
        db = None
        try:
            db = self._connect()
            db.execute("BEGIN")
            try:
                self._refresh(db)
                yield db
            finally:
                with suppress(sqlite3.Error):
                    db.execute("COMMIT")
        except sqlite3.Error as error:
            self.close()
            if is_damage(error):
                raise CorpusError(
                    f"the index {self._store.path} is damaged ({error}); sync builds it anew; "
                    "delete the file if it finds no damage"
                ) from None
            raise CorpusError(f"the index {self._store.path} cannot be read: {error}") from None
        except NONSENSE as error:
            if isinstance(error, CactusError) or db is None or is_sound(db):
                raise
            self.close()
            raise CorpusError(
                f"the index {self._store.path} is damaged (its tables contradict each other); "
                "sync builds it anew; delete the file if it finds no damage"
            ) from None

    def close(self) -> None:
        """Close the connection; the next snapshot opens another one."""
        db, self._db = self._db, None
        if db is not None and self._opened[-1] == os.getpid():  # a child must not touch it
            db.close()

    def files(self) -> NDArray[np.int64]:
        """The file of each chunk, in the order of `ids`."""
        assert self._files is not None
        return self._files

    def ids(self) -> NDArray[np.int64]:
        """The chunks, ascending."""
        assert self._ids is not None
        return self._ids

    def cosines(self, db: sqlite3.Connection, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """The cosine of each chunk's vector with the query's, in the order of `ids`."""
        import numpy as np

        vectors = self._load_vectors(db)
        wide = np.zeros(vectors.shape[1], np.float32)
        wide[: len(query)] = query
        # A damaged vector is like none.
        return np.nan_to_num(dot_f16(vectors, wide), nan=-1.0, posinf=-1.0, neginf=-1.0)

    def _connect(self) -> sqlite3.Connection:
        here = (self._store.identity(), os.getpid())
        if self._db is None or here != self._opened:
            self.close()
            self._db = self._store.read()
            self._opened, self._version = here, -1
            self._ids = self._files = self._vectors = None
            self._db.execute("CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, words, row)")
        return self._db

    def _refresh(self, db: sqlite3.Connection) -> None:
        (version,) = db.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return
        import numpy as np

        self.meta = read_meta(db)
        rows = np.array(
            db.execute("SELECT id, file FROM chunks INDEXED BY chunks_by_file").fetchall(),
            np.int64,
        ).reshape(-1, 2)
        rows = rows[np.argsort(rows[:, 0])]
        old, vectors = self._ids, self._vectors
        self._ids, self._files = rows[:, 0].copy(), rows[:, 1].copy()
        if old is not None and vectors is not None:
            self._keep(old, vectors)
        self.chunks = len(rows)
        self.common.clear()
        self._version = version

    def _keep(self, old: NDArray[np.int64], vectors: NDArray[np.float16]) -> None:
        """Of vectors that are loaded, keep those of chunks that are there still."""
        import numpy as np

        # A chunk's vector never changes, and ids rise: what is new is behind what is old.
        kept = np.isin(old, self.ids(), assume_unique=True)
        self._vectors = vectors if kept.all() else vectors[kept]

    def _load_vectors(self, db: sqlite3.Connection) -> NDArray[np.float16]:
        import numpy as np

        ids, width = self.ids(), int(self.meta["dimensions"])
        loaded = self._vectors
        have = 0 if loaded is None else len(loaded)
        if loaded is not None and have == len(ids):
            return loaded
        vectors = np.zeros((len(ids), padded(width)), np.float16)
        if loaded is not None:
            vectors[:have] = loaded
        cursor = db.execute(
            "SELECT vector FROM vectors WHERE chunk >= ? ORDER BY chunk", (int(ids[have]),)
        )
        at = have
        while rows := cursor.fetchmany(_ROWS):
            try:
                data = np.frombuffer(b"".join(row[0] for row in rows), "<f2")
            except (TypeError, ValueError):
                data = np.empty(0)
            if data.size != len(rows) * width or at + len(rows) > len(ids):
                raise sqlite3.DatabaseError("its vectors do not fit its chunks")
            vectors[at : at + len(rows), :width] = data.reshape(-1, width)
            at += len(rows)
        if at != len(ids):
            raise sqlite3.DatabaseError(f"{len(ids)} chunks have {at} vectors")
        self._vectors = vectors
        return vectors
