"""Documents for tests, and a tokenizer that needs no model."""

from __future__ import annotations

import re
from pathlib import Path

from cactus.documents.read import Reader
from cactus.documents.types import Document, Limits, Skipped
from cactus.documents.walk import FileEntry, walk

_TOKEN = re.compile(r"\w{1,6}|[^\w\s]")


def offsets(text: str) -> list[int]:
    """Tokens of at most six letters, and single marks."""
    return [match.start() for match in _TOKEN.finditer(text)]


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    """A folder with these files in it."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def look(folder: Path, **options: object) -> tuple[list[str], dict[str, str]]:
    """The names of the files that a walk finds, and the reasons of what it skips."""
    names, skipped = [], {}
    for entry in walk(folder, **options):  # type: ignore[arg-type]
        if isinstance(entry, Skipped):
            skipped[entry.path] = entry.reason
        else:
            names.append(entry.name)
    return names, skipped


def entry_of(path: Path) -> FileEntry:
    """The entry of one file, as a walk of its folder gives it."""
    status = path.lstat()
    return FileEntry(str(path), path.name, status.st_size, status.st_mtime_ns)


def read(
    folder: Path, name: str, content: str | bytes, limits: Limits | None = None
) -> Document | Skipped:
    """What a reader makes of a file of that name and content."""
    write(folder, {name: content})
    with Reader(limits) as reader:
        return reader.read(entry_of(folder.resolve() / name))


def document(folder: Path, name: str, content: str | bytes) -> Document:
    """The document in a file; AssertionError where it is skipped."""
    found = read(folder, name, content)
    assert isinstance(found, Document), found
    return found


def headings(found: Document) -> list[tuple[int, str]]:
    """Level and title of each heading."""
    return [(block.level, block.title) for block in found.blocks if block.kind == "heading"]


def parts(found: Document, kind: str) -> list[str]:
    """The text of each block of a kind."""
    return [found.text[block.start : block.end] for block in found.blocks if block.kind == kind]
