"""Making the index what the folder is: only what changed is read, and only new text embedded."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from cactus.documents.types import Reason, Skipped
from cactus.documents.walk import FileEntry
from cactus.errors import CactusError, Cancelled, CorpusError
from cactus.progress import Progress
from cactus.retrieval.pictures import calibrate_pictures
from cactus.retrieval.score import Calibration, calibrate
from cactus.retrieval.store import (
    NONSENSE,
    Store,
    is_damage,
    is_sound,
    read_meta,
    roll_back,
    write_meta,
)
from cactus.retrieval.types import SyncReport, sees
from cactus.retrieval.words import WORDS_VERSION
from cactus.retrieval.writer import Writer

if TYPE_CHECKING:
    from cactus.calls.stop_flag import StopFlag
    from cactus.retrieval.types import Embedder, Loaded, Source

_JUST_NOW = 2_000_000_000  # nanoseconds: a newer file may change again within its time stamp,
_UNSETTLED = -1  # so that it is compared by content the next time

_LISTS = """
CREATE TEMP TABLE present (id INTEGER PRIMARY KEY);
CREATE TEMP TABLE candidates (
  number INTEGER PRIMARY KEY, path TEXT, name TEXT, size INTEGER, mtime_ns INTEGER);
"""


def identity(embedder: Embedder, source: Source) -> dict[str, Any]:
    """What the chunks and vectors of an index depend on, besides the files."""
    return {
        "embedder": embedder.name,
        "fingerprint": embedder.fingerprint,
        "dimensions": embedder.dimensions,
        "reader": source.version,
        "words": WORDS_VERSION,
    }


def sync(
    store: Store,
    source: Source,
    embedder: Embedder,
    progress: Progress | None,
    stop: StopFlag | None,
) -> SyncReport:
    """Bring the index up to date; a damaged one is built anew.

    One process does that at a time, others wait. Raises CorpusError where the index cannot be
    written, and Cancelled; what was done until then is kept.
    """
    with _alone(store, stop):
        try:
            try:
                with closing(store.write()) as db:
                    return _Sync(db, store, source, embedder, progress, stop).run("")
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
            except NONSENSE as error:
                if isinstance(error, CactusError) or _is_sound(store):
                    raise
            store.delete()
            with closing(store.write()) as db:
                return _Sync(db, store, source, embedder, progress, stop).run(
                    "it was damaged or of an older version"
                )
        except sqlite3.Error as error:
            raise CorpusError(f"{store.path}: {error}") from None


def _is_sound(store: Store) -> bool:
    try:
        with closing(store.read()) as db:
            return is_sound(db)
    except sqlite3.Error:
        return False


@contextmanager
def _alone(store: Store, stop: StopFlag | None) -> Iterator[None]:
    """Hold the lock of those who write; it goes with the process."""
    import filelock

    lock = filelock.FileLock(f"{store.path}.lock")
    try:
        store.make_folder()
        while not lock.is_locked:
            with suppress(filelock.Timeout):
                lock.acquire(timeout=0.2)
            if stop:
                raise Cancelled("indexing was stopped while another process was indexing")
    except OSError as error:
        raise store.unwritable(error) from None
    try:
        yield
    finally:
        lock.release()


class _Sync:
    def __init__(
        self,
        db: sqlite3.Connection,
        store: Store,
        source: Source,
        embedder: Embedder,
        progress: Progress | None,
        stop: StopFlag | None,
    ) -> None:
        self._db, self._store, self._source, self._embedder = db, store, source, embedder
        self._progress, self._stop = progress, stop
        self._report = SyncReport()
        self._writer = Writer(db, embedder, stop)
        self._began = time.time_ns()
        self._retry = False

    def run(self, rebuilt: str) -> SyncReport:
        report = self._report
        try:
            report.rebuilt = self._prepare() or rebuilt
            self._db.executescript(_LISTS)
            self._look()
            self._read()
            self._sweep()
            self._writer.commit()
            self._calibrate()
        except BaseException:
            roll_back(self._db)
            raise
        report.embedded = self._writer.embedded
        # One file, that can be copied and read where nobody may write beside it.
        with suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return report

    def _prepare(self) -> str:
        """Empty the index where it was made in another way; says which."""
        meta = read_meta(self._db)
        wanted = {"root": str(self._store.root), **identity(self._embedder, self._source)}
        others = [key for key, value in wanted.items() if meta.get(key) != value]
        if others:
            self._writer.clear(**wanted)
        abilities = self._source.abilities
        self._retry = meta.get("abilities") != abilities
        if others or self._retry:
            write_meta(self._db, abilities=abilities)
        if not meta or not others:
            return ""
        if meta.get("fingerprint") != wanted["fingerprint"]:
            return f"it was made with the embedder {meta.get('embedder')}"
        return "files are read or cut in another way now"

    def _look(self) -> None:
        """List the files that may have changed: those with another size or time."""
        self._db.execute("BEGIN")  # of tables of this connection alone
        for entry in self._source.walk():
            if self._stop:
                raise Cancelled("indexing was stopped before anything was changed")
            if isinstance(entry, Skipped):
                self._report.skipped.add(entry)
                continue
            if (unnamed := _unnamed(entry)) is not None:
                self._report.skipped.add(unnamed)
                continue
            known = self._find(entry.name)
            if known and known.stat == (entry.size, entry.mtime_ns) and not self._again(known):
                self._still(entry.name, known)
            else:
                self._db.execute(
                    "INSERT INTO candidates (path, name, size, mtime_ns) VALUES (?, ?, ?, ?)",
                    (entry.path, entry.name, entry.size, entry.mtime_ns),
                )
        self._db.execute("COMMIT")

    def _read(self) -> None:
        """Read the files that are new or have other content."""
        (total,) = self._db.execute("SELECT coalesce(sum(size), 0) FROM candidates").fetchone()
        done = 0
        for entry in self._candidates():
            self._tell(done, total)
            loaded = self._source.load(entry)
            if isinstance(loaded, Skipped):  # whatever the reason is, it may be gone the next time
                self._report.skipped.add(loaded)
            else:
                self._read_file(entry, loaded, done, total)
            done += entry.size
        if total:
            self._tell(total, total)

    def _read_file(self, entry: FileEntry, loaded: Loaded, done: int, total: int) -> None:
        known = self._find(entry.name)
        mtime_ns = entry.mtime_ns if entry.mtime_ns < self._began - _JUST_NOW else _UNSETTLED
        if known and known.digest == loaded.digest and not self._again(known):
            self._writer.touch(entry.name, entry.size, mtime_ns)
            self._still(entry.name, known)
            return
        read = self._source.read(entry, loaded)
        if isinstance(read, Skipped) and read.reason == "unreadable":  # not for what is in it
            self._report.skipped.add(read)
            return
        if isinstance(read, Skipped):
            self._writer.refuse(entry, mtime_ns, loaded.digest, read)
            self._report.failed += 1
            self._report.skipped.add(read)
        else:
            self._writer.begin(entry, mtime_ns, loaded.digest, read.metadata)
            for chunk in read.chunks:
                self._writer.add(chunk, read.picture)
                # Characters are no more than bytes, and close enough for a bar.
                self._tell(done + min(chunk.end, entry.size), total)
            self._writer.end()
            if known:
                self._report.changed += 1
            else:
                self._report.added += 1
        self._db.execute(
            "INSERT OR IGNORE INTO present SELECT id FROM files WHERE name = ?", (entry.name,)
        )

    def _sweep(self) -> None:
        """Take out the files that are not there any more."""
        gone = self._db.execute(
            "SELECT id FROM files WHERE id NOT IN (SELECT id FROM present)"
        ).fetchall()
        for (file,) in gone:
            self._writer.remove(file)
            self._report.removed += 1

    def _calibrate(self) -> None:
        """Find out what cosines mean here, where that is not known or much has changed."""
        (chunks,) = self._db.execute("SELECT count(*) FROM vectors").fetchone()
        self._report.chunks = chunks
        known = Calibration.from_json(read_meta(self._db).get("calibration"))
        embedder = self._embedder
        if chunks and embedder.dimensions and not known.fits(chunks):
            measured = (
                calibrate_pictures(self._db, embedder, self._stop)
                if sees(embedder)
                else calibrate(self._db, embedder, self._stop)
            )
            write_meta(self._db, calibration=measured.to_json())

    def _candidates(self) -> Iterator[FileEntry]:
        number = 0
        while rows := self._db.execute(
            "SELECT number, path, name, size, mtime_ns FROM candidates WHERE number > ?"
            " ORDER BY number LIMIT 256",
            (number,),
        ).fetchall():
            for row in rows:
                yield FileEntry(*row[1:])
            number = rows[-1][0]

    def _find(self, name: str) -> _Known | None:
        row = self._db.execute(
            "SELECT id, size, mtime_ns, digest, reason, detail FROM files WHERE name = ?", (name,)
        ).fetchone()
        return _Known(row[0], (row[1], row[2]), *row[3:]) if row else None

    def _again(self, known: _Known) -> bool:
        """Whether a file that could not be read is tried once more."""
        return known.reason is not None and self._retry

    def _still(self, name: str, known: _Known) -> None:
        self._db.execute("INSERT OR IGNORE INTO present VALUES (?)", (known.id,))
        if known.reason is None:
            self._report.unchanged += 1
        else:
            self._report.failed += 1
            self._report.skipped.add(Skipped(name, known.reason, known.detail or ""))

    def _tell(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress("indexing", done, total)


class _Known(NamedTuple):
    """What the index knows of a file."""

    id: int
    stat: tuple[int, int]
    digest: bytes
    reason: Reason | None
    detail: str | None


def _unnamed(entry: FileEntry) -> Skipped | None:
    """A file whose name is not text cannot be named in a result."""
    try:
        f"{entry.path}{entry.name}".encode()
    except UnicodeEncodeError:
        name = entry.name.encode("utf-8", "backslashreplace").decode()
        return Skipped(name, "unreadable", "its name is not valid UTF-8")
    return None
