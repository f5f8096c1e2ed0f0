"""A folder of pictures as the source of an index, for an embedder that sees: each is one chunk."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from cactus.compat import Unpack
from cactus.documents.kinds import PICTURE, refused
from cactus.documents.read import Reader
from cactus.documents.types import Chunk, Skipped
from cactus.documents.walk import FileEntry, walk
from cactus.errors import InvalidImage
from cactus.retrieval.folder import FolderOptions
from cactus.retrieval.score import Calibration
from cactus.retrieval.types import Loaded, Read

if TYPE_CHECKING:
    from cactus.calls.stop_flag import StopFlag
    from cactus.retrieval.types import ImageEmbedder

VERSION = "pictures 1"
"""Changes when the same files give other chunks."""

_SPREAD = 4.0
"""Standard deviations of the cosines of unrelated captions by which a fitting one is above them.

Texts and pictures lie apart in the space of such an encoder, so that cosines are small, and a
caption is above the others of a picture by a few times what those differ.
"""

_CAPTIONS = (
    "a dog in the grass", "a plate of food", "a street with cars at night", "a red flower",
    "two people smiling", "a snowy mountain", "a cat on a sofa", "a screenshot of a program",
    "a page of text", "a beach and the sea", "a child on a bicycle", "a tall building",
    "a map of a country", "a football match", "a wooden table", "a bird in the sky",
)  # fmt: skip
"""Of what pictures may show; each has to do with few of those of a folder."""

_WORD = re.compile(r"[^\W_]+")


class Pictures:
    """The pictures of a folder; what else is in it is left out, and counted.

    A picture's text is the words of its path, so that it is found by them, too.
    """

    version = VERSION
    abilities = ""

    def __init__(
        self, root: Path, embedder: ImageEmbedder, **options: Unpack[FolderOptions]
    ) -> None:
        self._root, self._name, self._options = root, embedder.name, options
        self._reader = Reader(options.get("limits"), pictures=True)

    def close(self) -> None:
        """Nothing is held."""
        self._reader.close()

    def walk(self) -> Iterator[FileEntry | Skipped]:
        """The files of the folder, and what is left out."""
        options = self._options
        for entry in walk(
            self._root,
            include=options.get("include", ()),
            exclude=options.get("exclude", ()),
            hidden=options.get("hidden", False),
        ):
            if isinstance(entry, FileEntry) and refused(entry.name) != PICTURE:
                what = f"not a picture; the embedder {self._name} is for pictures"
                entry = Skipped(entry.name, "unsupported", what)
            yield entry

    def load(self, entry: FileEntry) -> Loaded | Skipped:
        """A file's content and its digest."""
        data = self._reader.load(entry)
        if isinstance(data, Skipped):
            return data
        assert data is not None
        return Loaded(hashlib.sha256(data).digest(), data)

    def read(self, entry: FileEntry, loaded: Loaded) -> Read | Skipped:
        """A picture as a chunk."""
        from cactus.images.door import load
        from cactus.images.formats import recognise

        assert loaded.data is not None
        try:
            recognise(loaded.data, "it")
        except InvalidImage as error:
            return Skipped(entry.name, "unsupported", str(error))
        try:
            picture = load(loaded.data)
        except InvalidImage as error:
            return Skipped(entry.name, "damaged", str(error))
        words = _WORD.findall(str(PurePosixPath(entry.name).with_suffix("")))
        text = " ".join(words)
        chunk = Chunk(text, 0, len(text), "", "", None, None, None, len(words))
        size = {"width": str(picture.width), "height": str(picture.height)}
        return Read({"kind": "picture", **size}, iter([chunk]), picture)


def calibrate_pictures(
    db: sqlite3.Connection, embedder: ImageEmbedder, stop: StopFlag | None
) -> Calibration:
    """What cosines mean in an index of pictures, by captions that have to do with few of them."""
    import numpy as np

    captions = embedder.embed(_CAPTIONS, "query", stop=stop)
    count, total, squares = 0, 0.0, 0.0
    cursor = db.execute("SELECT vector FROM vectors")
    while rows := cursor.fetchmany(1024):
        vectors = np.frombuffer(b"".join(row[0] for row in rows), "<f2").astype(np.float32)
        cosines = captions @ vectors.reshape(len(rows), -1).T
        count += cosines.size
        total += float(cosines.sum())
        squares += float(np.square(cosines, dtype=np.float64).sum())
    mean = total / count
    spread = max(0.0, squares / count - mean**2) ** 0.5
    (chunks,) = db.execute("SELECT count(*) FROM vectors").fetchone()
    return Calibration(mean, mean + _SPREAD * spread, chunks=chunks)
