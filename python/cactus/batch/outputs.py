"""Where the results of a job go: a file, by the ending of its name."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from cactus.errors import InvalidRequest


class Output:
    """A file of JSON lines: it is its own journal. Other kinds are made of theirs at the end."""

    told = True
    """Whether the lines of the journal have the input's columns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.journal = path
        self.state = path.with_name(f"{path.name}.batch.json")
        self.lock = path.with_name(f"{path.name}.batch.lock")

    def remove(self) -> None:
        """Take away what is there of it."""
        for path in {self.path, self.journal}:
            with suppress(FileNotFoundError):
                path.unlink()


KINDS: dict[str, type[Output]] = {".jsonl": Output, ".ndjson": Output}


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
