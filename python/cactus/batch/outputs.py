"""Where results go, by the ending of a name."""

from __future__ import annotations

import os
from pathlib import Path

from cactus.batch.output import Output
from cactus.batch.parquet import ParquetOutput
from cactus.batch.tables import CsvOutput
from cactus.errors import InvalidRequest

KINDS: dict[str, type[Output]] = {
    ".jsonl": Output,
    ".ndjson": Output,
    ".csv": CsvOutput,
    ".tsv": CsvOutput,
    ".parquet": ParquetOutput,
}


def open_output(path: str | os.PathLike[str]) -> Output:
    """Where results go. InvalidRequest for a name of another ending, or without its folder."""
    found = Path(path)
    kind = KINDS.get(found.suffix.lower())
    if kind is None or found.is_dir():
        raise InvalidRequest(
            f"output {str(path)!r}: expected a file that ends in {', '.join(KINDS)}, "
            f"got {'a folder' if found.is_dir() else repr(found.suffix or 'no ending')}"
        )
    if not found.parent.is_dir():
        raise InvalidRequest(f"output {str(path)!r}: there is no folder {str(found.parent)!r}")
    return kind(found)
