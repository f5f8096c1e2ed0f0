"""A folder as output: a file for each file of the input, such as subtitles of recordings."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cactus.batch.output import OutputInFolder
from cactus.batch.rows import Folder, Input
from cactus.errors import InvalidRequest
from cactus.inputs.checks import choice
from cactus.inputs.files import replace_file

SUFFIXES = {"text": ".txt", "srt": ".srt", "vtt": ".vtt", "tsv": ".tsv", "json": ".json"}
"""The endings of files by their form."""


class FolderOutput(OutputInFolder):
    """A folder. Its journal stays in it: a table of the files that were made of which."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.journal = path / "batch.jsonl"
        self.state = path / "batch.json"
        self.lock = path / "batch.lock"

    def remove(self) -> None:
        self.journal.unlink(missing_ok=True)


@dataclass(frozen=True)
class Documents:
    """The files of a folder that are written: in which form, and under which name for which row."""

    folder: Path
    form: str
    names: Mapping[str, str]

    def write(self, file: str, text: str) -> str:
        """Write the file for one of the input, in one go; the name that it has in the folder."""
        name = self.names[file]
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, text.encode("utf-8", "surrogatepass"))
        return name


def documents(
    folder: Path, form: str | None, forms: Sequence[str], source: Input, kind: str
) -> Documents:
    """What a job writes into a folder. InvalidRequest naming what does not go together."""
    if not forms:
        raise InvalidRequest(f"output: a job of {kind!r} writes a file, not the folder {folder}")
    if not isinstance(source, Folder):
        raise InvalidRequest("output: a folder is written for a folder as input, not for a file")
    if folder.absolute().is_relative_to(source.path.absolute()):
        raise InvalidRequest(f"output: {folder} lies in the input")
    chosen = choice("form", forms[0] if form is None else form, forms)
    return Documents(folder, chosen, _names(source.files, SUFFIXES[chosen]))


def _names(files: Iterable[str], suffix: str) -> dict[str, str]:
    """a.wav becomes a.srt; where there is an a.mp3, too, they become a.wav.srt and a.mp3.srt."""
    names = {file: str(PurePosixPath(file).with_suffix(suffix)) for file in files}
    count: dict[str, int] = {}
    for name in names.values():
        folded = os.path.normcase(name).lower()
        count[folded] = count.get(folded, 0) + 1
    return {
        file: f"{file}{suffix}" if count[os.path.normcase(name).lower()] > 1 else name
        for file, name in names.items()
    }
