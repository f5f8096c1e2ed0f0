"""The folders whose files tools may read, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cactus.errors import InvalidRequest
from cactus.inputs.checks import short


class Roots:
    """Folders; a file is read where it really lies in one of them, whatever links lead to it.

    Raises InvalidRequest for what is not a folder.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders: list[Path] = []
        for folder in folders:
            try:
                found = folder.expanduser().resolve(strict=True)
            except (OSError, RuntimeError, ValueError):
                found = None
            if found is None or not found.is_dir():
                raise InvalidRequest(f"{folder} is not a folder that can be read")
            self.folders.append(found)

    def file(self, path: str) -> Path:
        """The file at a path, which is relative to one of the folders or absolute.

        Raises InvalidRequest for one that is not there, and for one elsewhere, there or not.
        """
        given = Path(path)
        for folder in self.folders:
            try:
                real = (folder / given).resolve()
                if self._holds(real) and real.is_file():
                    return real
            except (OSError, RuntimeError, ValueError):  # links in a circle, a NUL
                continue
        inside = ", ".join(map(str, self.folders))
        raise InvalidRequest(f"path: there is no file {short(path, 200)} in {inside}")

    def _holds(self, real: Path) -> bool:
        return any(real.is_relative_to(folder) for folder in self.folders)
