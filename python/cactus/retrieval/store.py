"""The SQLite file of an index: where it lies, whose it is, and whether it can be used."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cactus.errors import CorpusError
from cactus.inputs.files import file_kind
from cactus.inputs.text import reason_of
from cactus.inputs.versions import wrong_version
from cactus.retrieval.fuse import WIDEST_GAP

APPLICATION_ID = 0x43414358
"""In the file's header, by which it is known."""
VERSION = 1
"""Of the tables; a file of a newer one is refused, of an older one made anew."""

_PAGE = 8192  # vectors of 384 and 768 values fill it well
_WAIT = 30.0  # seconds for another process's write; each takes a few milliseconds
_HEADER = 100
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # a FIFO is not waited for

TOKENIZE = "porter unicode61 remove_diacritics 2 categories ''L* N* Co Mn Mc''"

_SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE files (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,
  size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, digest BLOB NOT NULL,
  reason TEXT, detail TEXT, metadata TEXT NOT NULL);
CREATE INDEX files_by_digest ON files (digest);
CREATE TABLE chunks (
  id INTEGER PRIMARY KEY AUTOINCREMENT, file INTEGER NOT NULL, start INTEGER NOT NULL,
  stop INTEGER NOT NULL, tokens INTEGER NOT NULL, page INTEGER, line INTEGER,
  begins REAL, ends REAL, heading TEXT NOT NULL, header TEXT NOT NULL, text TEXT NOT NULL);
CREATE INDEX chunks_by_file ON chunks (file, id);
CREATE TABLE vectors (chunk INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE VIRTUAL TABLE words USING fts5 (text, content='', tokenize='{TOKENIZE}');
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""
# Ids rise with time and are never used again. Those of a file's chunks are in the order of the
# text. A file that could not be read has a reason and no chunks.

_CONTRADICTIONS = (
    "SELECT 1 FROM chunks WHERE file NOT IN (SELECT id FROM files)",
    "SELECT 1 FROM chunks WHERE id NOT IN (SELECT chunk FROM vectors)",
    "SELECT 1 FROM vectors WHERE chunk NOT IN (SELECT id FROM chunks)",
    "SELECT 1 FROM words_docsize WHERE id NOT IN (SELECT id FROM chunks)",
    "SELECT 1 FROM files WHERE typeof(name) != 'text' OR name = '' OR NOT json_valid(metadata) "
    "OR json_type(metadata) != 'object'",
    "SELECT 1 FROM files, json_each(metadata) WHERE type != 'text'",
    "SELECT 1 FROM chunks WHERE typeof(text) != 'text' "
    "OR typeof(heading) != 'text' OR typeof(header) != 'text' OR typeof(start) != 'integer' "
    "OR typeof(stop) != 'integer' OR typeof(tokens) != 'integer'",
    "SELECT 1 FROM chunks WHERE typeof(page) NOT IN ('integer', 'null') "
    "OR typeof(line) NOT IN ('integer', 'null') OR typeof(begins) NOT IN ('real', 'null') "
    "OR typeof(ends) != typeof(begins)",
    "SELECT 1 FROM chunks WHERE start < 0 OR stop - start != length(text)",
    "SELECT 1 FROM chunks a JOIN chunks b ON b.id = a.id + 1 AND b.file = a.file "
    f"WHERE b.start - a.stop > {WIDEST_GAP}",
    "SELECT 1 FROM vectors WHERE typeof(vector) != 'blob'",
)
"""What no index holds: each of these finds nothing."""


def index_path(root: Path, cache_folder: Path | str | None = None) -> Path:
    """Where the index of the folder `root` (a real path) lies: named after it, and no other's.

    Raises CorpusError where that is a part of the folder that would be indexed.
    """
    if cache_folder is None:
        import platformdirs

        cache_folder = platformdirs.user_cache_path("cactus", appauthor=False) / "corpora"
    folder = Path(os.path.realpath(Path(cache_folder).expanduser()))
    if folder.is_relative_to(root):
        inside = folder.relative_to(root).parts
        if not any(part.startswith(".") for part in inside):  # hidden folders are not indexed
            raise CorpusError(
                f"{folder} lies in the folder of documents {root}; name another cache folder"
            )
    name = re.sub(r"[^\w.-]+", "-", root.name, flags=re.ASCII).strip("-.")[:40] or "documents"
    key = hashlib.sha256(os.fsencode(root)).hexdigest()[:16]
    return folder / f"{name}-{key}.sqlite"


class Store:
    """The file of one index. Connections are made by `write` and `read`, and are the caller's."""

    def __init__(self, root: Path, cache_folder: Path | str | None = None) -> None:
        self.root = root
        self.path = index_path(root, cache_folder)

    def identity(self) -> tuple[int, int] | None:
        """Tells one file under this name from another."""
        try:
            status = os.stat(self.path)
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def make_folder(self) -> None:
        """The folder that the file lies in. Raises OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def unwritable(self, error: OSError) -> CorpusError:
        """What a user is told of an error of the system."""
        return CorpusError(
            f"the index {self.path} cannot be written: {reason_of(error)}; search it as it is "
            "(sync=False, --no-sync), or name another cache folder"
        )

    def write(self) -> sqlite3.Connection:
        """A connection that may write; the file is made where there is none.

        Raises CorpusError for what is not an index of this release or cannot be written, and
        sqlite3.DatabaseError for a damaged file.
        """
        try:
            self.make_folder()
            # It holds the text of the documents: for its owner alone.
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | _AT_ONCE, 0o600)
            mode = os.fstat(descriptor).st_mode
            os.close(descriptor)
        except OSError as error:
            raise self.unwritable(error) from None
        self._check_kind(mode)
        db = self._open("rw")
        try:
            if not self._check(db):
                self._create(db)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            return db
        except BaseException:
            db.close()
            raise

    def read(self) -> sqlite3.Connection:
        """A connection that reads, also where the folder cannot be written.

        Raises CorpusError where there is no index or none that this release can read, and
        sqlite3.DatabaseError for a damaged file.
        """
        try:
            mode = os.stat(self.path).st_mode
        except FileNotFoundError:
            raise self._none_yet() from None
        except OSError as error:
            raise self._unreadable(error) from None
        self._check_kind(mode)
        try:
            return self._readable("ro")
        except sqlite3.OperationalError:
            # A reader of a file with a write-ahead log makes a file beside it. Where it must not,
            # and nobody is writing, the file is read as one that does not change.
            log = Path(f"{self.path}-wal")
            if log.exists() and log.stat().st_size:
                raise
            return self._readable("ro&immutable=1")

    def _readable(self, mode: str) -> sqlite3.Connection:
        db = self._open(mode)
        try:
            if not self._check(db):
                raise self._none_yet()
            return db
        except BaseException:
            db.close()
            raise

    def _none_yet(self) -> CorpusError:
        return CorpusError(f"{self.root} has no index yet; sync it first")

    def _open(self, mode: str) -> sqlite3.Connection:
        uri = f"file:{quote(str(self.path))}?mode={mode}"
        db = sqlite3.connect(
            uri, uri=True, timeout=_WAIT, isolation_level=None, check_same_thread=False
        )
        db.execute(f"PRAGMA busy_timeout = {int(_WAIT * 1000)}")
        return db

    def _check(self, db: sqlite3.Connection) -> bool:
        """Whether the tables are there. Raises where they are another's, or damaged."""
        try:
            application, version, tables = (
                db.execute(query).fetchone()[0]
                for query in (
                    "PRAGMA application_id",
                    "PRAGMA user_version",
                    "SELECT count(*) FROM sqlite_schema",
                )
            )
        except sqlite3.OperationalError:
            raise
        except UnicodeDecodeError:  # of SQLite's message on what it could not make out
            raise sqlite3.DatabaseError("its list of tables is damaged") from None
        except sqlite3.DatabaseError:
            if self._begins_as_sqlite():
                raise  # damaged
            raise CorpusError(f"{self.path} is not an index; move it away") from None
        if not tables and not application:
            return False
        if application != APPLICATION_ID:
            raise CorpusError(f"{self.path} belongs to another program; move it away")
        if version > VERSION:
            advice = "delete the file to build the index anew"
            raise CorpusError(wrong_version(str(self.path), "version", version, VERSION, advice))
        if version < VERSION or self._truncated():
            raise sqlite3.DatabaseError("the file is of an older version or truncated")
        return True

    def _check_kind(self, mode: int) -> None:
        if not stat.S_ISREG(mode):
            raise CorpusError(
                f"the index {self.path} is {file_kind(mode)}, expected a file; delete it, or name "
                "another cache folder"
            )

    def _begins_as_sqlite(self) -> bool:
        return self._beginning(16) == b"SQLite format 3\0"

    def _beginning(self, size: int) -> bytes:
        try:
            with open(self.path, "rb") as file:
                return file.read(size)
        except OSError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: OSError) -> CorpusError:
        return CorpusError(f"the index {self.path} cannot be read: {reason_of(error)}")

    def _truncated(self) -> bool:
        """Whether the file is shorter than it says, and no log makes up for it."""
        log = Path(f"{self.path}-wal")
        with suppress(OSError):
            if log.stat().st_size:
                return False
        head = self._beginning(_HEADER)
        page = int.from_bytes(head[16:18], "big")
        pages = int.from_bytes(head[28:32], "big")
        return pages * (65536 if page == 1 else page) > self.path.stat().st_size

    def _create(self, db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA page_size = {_PAGE}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN IMMEDIATE")
        try:
            if not db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                for statement in filter(None, map(str.strip, _SCHEMA.split(";\n"))):
                    db.execute(statement)
            db.execute("COMMIT")
        except BaseException:
            roll_back(db)
            raise

    def delete(self) -> None:
        """Remove the file, whatever is in it."""
        for ending in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(f"{self.path}{ending}")


NONSENSE = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
"""What comes of values that no index holds; `is_sound` says whether they were the reason."""


def is_sound(db: sqlite3.Connection) -> bool:
    """Whether the whole file agrees with itself: asked where what it holds has made no sense."""
    try:
        if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            return False
        return all(db.execute(query).fetchone() is None for query in _CONTRADICTIONS)
    except (sqlite3.Error, UnicodeDecodeError):
        return False


def read_meta(db: sqlite3.Connection) -> dict[str, Any]:
    """All that is noted about the index."""
    return dict(db.execute("SELECT key, value FROM meta"))


def write_meta(db: sqlite3.Connection, **values: Any) -> None:
    """Note something."""
    db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())


def roll_back(db: sqlite3.Connection) -> None:
    """Undo what is not whole, after an error, which is told and not what this one may meet."""
    with suppress(sqlite3.Error):
        if db.in_transaction:  # SQLite has done so itself where the disk has failed
            db.execute("ROLLBACK")


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is damaged, and not that it is busy or the like."""
    return type(error) is sqlite3.DatabaseError or "Could not decode to UTF-8" in str(error)
