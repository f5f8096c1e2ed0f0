"""Where results go, by the ending of a name."""

from __future__ import annotations

import os
from pathlib import Path

from cactus.batch.folders import FolderOutput
from cactus.batch.output import Output
from cactus.batch.parquet import ParquetOutput
from cactus.batch.parts import PartsOutput
from cactus.batch.tables import CsvOutput
from cactus.errors import InvalidRequest

KINDS: dict[str, type[Output]] = {
    ".jsonl": Output,
    ".ndjson": Output,
    ".csv": CsvOutput,
    ".tsv": CsvOutput,
    ".parquet": ParquetOutput,
}


def open_output(path: str | os.PathLike[str], form: str | None = None) -> Output:
    """Where results go; a folder with a `form`, or where there is one, or the name ends in "/".

    A folder whose name ends in ".parquet" gets one table in several files.
    InvalidRequest for a name of another ending, or without its folder.
    """
    found = Path(path)
    if not found.absolute().parent.is_dir():
        raise InvalidRequest(f"output {str(path)!r}: there is no folder {str(found.parent)!r}")
    ending = found.suffix.lower()
    if found.is_dir() or os.fspath(path).endswith(("/", os.sep)) or form is not None:
        if ending == ".parquet" and form is None and not found.is_file():
            return PartsOutput(found)
        if ending in KINDS or found.is_file():
            raise InvalidRequest(f"output {str(path)!r}: a form is for a folder, got a file")
        return FolderOutput(found)
    kind = KINDS.get(ending)
    if kind is None:
        raise InvalidRequest(
            f"output {str(path)!r}: expected a folder or a file that ends in "
            f"{', '.join(KINDS)}, got {found.suffix or 'no ending'!r}"
        )
    return kind(found)
