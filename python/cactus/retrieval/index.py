"""The index of a folder of documents: kept up to date, and searched."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from cactus.calls.closing import Closing
from cactus.compat import Self, Unpack
from cactus.errors import CorpusError, InvalidRequest
from cactus.inputs.text import clean_text
from cactus.progress import Progress
from cactus.retrieval.lexical import Lexical
from cactus.retrieval.search import HITS, Request, Search, read_hit
from cactus.retrieval.store import Store
from cactus.retrieval.sync import identity, sync
from cactus.retrieval.types import Hit, Mode, Reranker, SyncReport, sees
from cactus.retrieval.view import View

if TYPE_CHECKING:
    from cactus.calls.stop_flag import StopFlag
    from cactus.retrieval.folder import Folder, FolderOptions
    from cactus.retrieval.pictures import Pictures
    from cactus.retrieval.types import Embedder, Source

_MOST_NEIGHBOURS = 100
_WIDEST = 16  # characters of a query that are embedded, for each token that the embedder sees


class Index(Closing):
    """The index of one folder. `path` is its file.

    Any thread may use it; searches go one after the other, beside a sync. Several processes may use
    the index of one folder.
    """

    def __init__(
        self,
        root: str | Path,
        source: Source,
        embedder: Embedder,
        cache_folder: str | Path | None = None,
    ) -> None:
        """Open, or have, the index of `root` in `cache_folder`, which is not inside of it.

        The cache folder is by default the user's. Nothing is read or written yet. Raises
        CorpusError for a folder that is not there.
        """
        top = Path(os.path.realpath(Path(root).expanduser()))
        if not top.is_dir():
            what = "is not a folder" if top.exists() else "does not exist"
            raise CorpusError(f"{root} {what}; expected a folder of documents")
        self.root, self.embedder = top, embedder
        self._owned: Folder | Pictures | None = None
        self._source = source
        self._store = Store(top, cache_folder)
        self._lock = threading.RLock()
        self._view = View(self._store)
        self._lexical = Lexical()

    @classmethod
    def open(
        cls,
        folder: str | Path,
        embedder: Embedder,
        cache_folder: str | Path | None = None,
        **options: Unpack[FolderOptions],
    ) -> Self:
        """The index of the files of a folder, of its pictures where the embedder sees.

        `options` are those of `Folder`.
        """
        from cactus.retrieval.folder import Folder
        from cactus.retrieval.pictures import Pictures

        root = Path(os.path.realpath(Path(folder).expanduser()))
        source: Folder | Pictures
        if sees(embedder):
            source = Pictures(root, embedder, **options)
        else:
            source = Folder(root, embedder, **options)
        try:
            index = cls(folder, source, embedder, cache_folder)
        except BaseException:
            source.close()
            raise
        index._owned = source
        return index

    @property
    def path(self) -> Path:
        """The file of the index."""
        return self._store.path

    def close(self) -> None:
        """Close the file, which a later call opens again, and end the process that reads PDFs."""
        with self._lock:
            self._view.close()
            self._lexical.close()
        if self._owned is not None:
            self._owned.close()

    def sync(self, progress: Progress | None = None, stop: StopFlag | None = None) -> SyncReport:
        """Bring the index up to date with the folder; the first time, make it.

        Files are compared by size and time, then by content. Only text that is not in the index
        yet is embedded. An index that is damaged, or was made with another embedder, is made anew,
        and the report says so. `progress` gets bytes of files.

        Raises CorpusError where the index cannot be written or is another program's or a newer
        version's, InvalidRequest for a folder that has gone, Cancelled once `stop` is true; what
        was done until then is kept.
        """
        return sync(self._store, self._source, self.embedder, progress, stop)

    def search(
        self,
        query: str,
        top_k: int = 5,
        *,
        mode: Mode = "hybrid",
        paths: str | Sequence[str] | None = None,
        metadata: Mapping[str, str | Sequence[str]] | None = None,
        rerank: Reranker | None = None,
        neighbours: int = 0,
        floor: bool = True,
    ) -> list[Hit]:
        """The passages that answer a query, the best first; none where nothing is good enough.

        top_k        at most so many
        mode         by meaning and by words, or by one of both
        paths        only files that fit one of these patterns, as in a .gitignore: ``docs/**``,
                     ``*.md``
        metadata     only files whose metadata has these values, or one of several
        rerank       reads the 30 best and puts them in order; its scores are the hits' scores then
        neighbours   so many chunks before and behind each are joined to it
        floor        leave out what is no better than what other questions would find

        Raises InvalidRequest for another kind of argument, CorpusError where there is no index that
        can be read, or its embedder is another one, which words alone do not depend on.
        """
        request = _request(query, top_k, mode, paths, metadata, rerank, neighbours, floor)
        if mode != "lexical" and not self.embedder.dimensions:
            raise InvalidRequest(
                f"mode must be 'lexical', got {mode!r}: the index of {self.root} has no vectors, "
                "since it is open without an embedder"
            )
        if not request.query.strip() or not request.top_k:
            with self._lock, self._view.snapshot():
                self._check_identity(mode)
            return []
        vector = None
        if mode != "lexical":
            text = request.query[: _WIDEST * self.embedder.max_tokens]
            vector = self.embedder.embed([text], "query")[0]
        with self._lock, self._view.snapshot() as db:
            self._check_identity(mode)
            if not self._view.chunks:
                return []
            return Search(db, self._view, self._lexical, request, vector).hits()

    @property
    def made_with(self) -> str | None:
        """The name of the embedder it was made with; None where none can be read yet."""
        if self._store.identity() is None:
            return None
        try:
            with self._lock, self._view.snapshot():
                return self._view.meta.get("embedder")
        except CorpusError:
            return None

    @property
    def files(self) -> int:
        """How many files are in the index."""
        return self._count("SELECT count(*) FROM files WHERE reason IS NULL")

    @property
    def chunks(self) -> int:
        """How many chunks are in the index."""
        return self._count("SELECT count(*) FROM vectors")

    @property
    def tokens(self) -> int:
        """How many tokens the chunks have together, as the embedder counts them."""
        return self._count("SELECT coalesce(sum(tokens), 0) FROM chunks")

    def all(self, limit: int | None = None) -> Iterator[Hit]:
        """The chunks in the order of files and text, with score 1."""
        with self._lock, self._view.snapshot() as db:
            rows = db.execute(
                f"{HITS} ORDER BY f.name, c.id LIMIT ?", (-1 if limit is None else limit,)
            ).fetchall()
            hits = _hits(rows)
        yield from hits

    def document(self, source: str, tokens: int) -> list[Hit]:
        """The chunks of a file in their order; none where they have more than so many tokens."""
        with self._lock, self._view.snapshot() as db:
            (size,) = db.execute(
                "SELECT sum(tokens) FROM chunks WHERE file = (SELECT id FROM files WHERE name = ?)",
                (source,),
            ).fetchone()
            if size is None or size > tokens:
                return []
            return _hits(db.execute(f"{HITS} WHERE f.name = ? ORDER BY c.id", (source,)))

    def _count(self, query: str) -> int:
        with self._lock, self._view.snapshot() as db:
            return int(db.execute(query).fetchone()[0])

    def _check_identity(self, mode: Mode) -> None:
        if mode == "lexical":
            return
        meta = self._view.meta
        wanted = identity(self.embedder, self._source)
        for key in ("fingerprint", "dimensions"):
            if meta.get(key) != wanted[key]:
                raise CorpusError(
                    f"the index of {self.root} was made with the embedder {meta.get('embedder')}, "
                    f"not {self.embedder.name}; sync builds it anew"
                )


def _hits(rows: Iterable[Sequence[Any]]) -> list[Hit]:
    files: dict[int, dict[str, str]] = {}
    return [read_hit(row, files, 1.0) for row in rows]


def _request(
    query: str,
    top_k: int,
    mode: Mode,
    paths: str | Sequence[str] | None,
    metadata: Mapping[str, str | Sequence[str]] | None,
    rerank: Reranker | None,
    neighbours: int,
    floor: bool,
) -> Request:
    if not isinstance(query, str):
        raise InvalidRequest(f"query must be a text, got {type(query).__name__}")
    for name, value, most in (("top_k", top_k, None), ("neighbours", neighbours, _MOST_NEIGHBOURS)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise InvalidRequest(f"{name} must be a whole number, got {type(value).__name__}")
        if value < 0 or (most is not None and value > most):
            limits = "0 or more" if most is None else f"0 to {most}"
            raise InvalidRequest(f"{name} must be {limits}, got {value}")
    if mode not in get_args(Mode):
        raise InvalidRequest(f"mode must be one of {', '.join(get_args(Mode))}, got {mode!r}")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidRequest(f"metadata must be a mapping, got {type(metadata).__name__}")
    for key, wanted in (metadata or {}).items():
        if not isinstance(wanted, (str, list, tuple, set, frozenset)):
            got = type(wanted).__name__
            raise InvalidRequest(f"metadata[{key!r}] must be a text or a list of texts, got {got}")
    paths = None if paths is None else _patterns(paths)
    return Request(clean_text(query), top_k, mode, paths, metadata, neighbours, floor, rerank)


def _patterns(paths: object) -> list[str]:
    from cactus.documents.ignore import compile_patterns

    found = [paths] if isinstance(paths, str) else paths
    if not isinstance(found, Sequence) or not all(isinstance(path, str) for path in found):
        raise InvalidRequest("paths must be patterns: texts")
    try:
        compile_patterns(found)
    except ValueError as error:
        raise InvalidRequest(f"paths: {error}") from None
    return list(found)
