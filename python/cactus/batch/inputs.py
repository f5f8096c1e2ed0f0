"""What a job reads, by the ending of a name."""

from __future__ import annotations

import os
from pathlib import Path

from cactus.batch.parquet import Parquet
from cactus.batch.rows import Csv, Folder, Input, JsonLines, Lines, opened
from cactus.errors import InvalidRequest

KINDS: dict[str, type[Input]] = {
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".csv": Csv,
    ".tsv": Csv,
    ".parquet": Parquet,
    ".txt": Lines,
    ".text": Lines,
}


def open_input(path: str | os.PathLike[str]) -> Input:
    """The rows of a file, by the ending of its name, or of a folder.

    Raises InvalidRequest where there is none, or it is of another kind.
    """
    found = Path(path)
    if found.is_dir():
        return Folder(found)
    if str(path) == "-":
        raise InvalidRequest("input: standard input cannot be read again; give a file or a folder")
    kind = KINDS.get(found.suffix.lower())
    if kind is None:
        raise InvalidRequest(
            f"input {found.name!r}: expected a folder or a file that ends in "
            f"{', '.join(KINDS)}, got {found.suffix or 'no ending'!r}"
        )
    with opened(found):
        return kind(found)
