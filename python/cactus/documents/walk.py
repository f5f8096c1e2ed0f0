"""The files below a folder, one after the other, in an order that does not depend on the system.

Nothing outside of the folder is ever reached: no symbolic link is followed. What is not a regular
file is named with the reason, and what vanishes meanwhile, too.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cactus.documents.ignore import GitIgnore, compile_patterns, rules_at
from cactus.documents.types import Skipped
from cactus.errors import InvalidRequest
from cactus.inputs.files import file_kind
from cactus.inputs.text import reason_of

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_DEEPEST = 200  # folders in one another: each is checked anew on the way to every file in it
_JUNCTIONS = (0xA0000003, 0xA000000C)  # mount points and symbolic links of Windows


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A regular file: its absolute `path`, and its `name` relative to the root, with slashes."""

    path: str
    name: str
    size: int
    mtime_ns: int


def walk(
    root: str | Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    hidden: bool = False,
    gitignore: bool = True,
) -> Iterator[FileEntry | Skipped]:
    """The files below `root`, sorted by name within each folder, and what is skipped there.

    `include` and `exclude` are patterns as in a .gitignore: ``*.md``, ``docs/**``, ``/build/``.
    With `include`, other files are passed over without a word; what `exclude` and .gitignore files
    leave out, and hidden files and folders, is skipped with the reason. `gitignore=False` and
    `hidden=True` read these, too; a folder called .git is never read. Needs memory for the names
    in one folder, not for all. Raises InvalidRequest when `root` is not a folder that can be read,
    or for a pattern that is not one.
    """
    top = os.path.realpath(root)
    if not os.path.isdir(top):
        what = "is not a folder" if os.path.exists(top) else "does not exist"
        raise InvalidRequest(f"{root} {what}; expected a folder of documents")
    try:
        wanted = compile_patterns(include) if include else None
        unwanted = compile_patterns(exclude) if exclude else None
        os.listdir(top)
    except ValueError as error:
        raise InvalidRequest(f"include and exclude: {error}") from None
    except OSError as error:
        raise InvalidRequest(f"{root} cannot be read: {reason_of(error)}") from None
    return _Walk(top, wanted, unwanted, hidden, gitignore).run()


class _Walk:
    def __init__(
        self,
        top: str,
        include: GitIgnoreSpec | None,
        exclude: GitIgnoreSpec | None,
        hidden: bool,
        gitignore: bool,
    ) -> None:
        self._top, self._include, self._exclude, self._hidden = top, include, exclude, hidden
        self._skipped: deque[Skipped] = deque()
        self._rules = rules_at(top, self._skipped.append) if gitignore else None

    def run(self) -> Iterator[FileEntry | Skipped]:
        stack = [self._names(self._top, "", self._rules)]
        while stack:
            while self._skipped:
                yield self._skipped.popleft()
            folder, prefix, rules, names = stack[-1]
            for name in names:
                entry = self._look(os.path.join(folder, name), prefix + _valid(name), rules)
                if isinstance(entry, str):
                    inner, below = f"{prefix}{_valid(name)}/", rules
                    if rules is not None:
                        below = rules.inside(entry, self._skipped.append, inner)
                    stack.append(self._names(entry, inner, below))
                    break
                if entry is not None:
                    yield entry
            else:
                stack.pop()

    def _names(
        self, folder: str, prefix: str, rules: GitIgnore | None
    ) -> tuple[str, str, GitIgnore | None, Iterator[str]]:
        try:
            names = sorted(os.listdir(folder), reverse=True)
            if os.path.realpath(folder) != folder:  # it became a link meanwhile
                raise FileNotFoundError
        except OSError as error:
            self._skipped.append(skipped_for(prefix.rstrip("/") or ".", error))
            names = []
        return folder, prefix, rules, _taken(names)

    def _look(
        self, path: str, name: str, rules: GitIgnore | None
    ) -> FileEntry | Skipped | str | None:
        """What lies at `path`: a file, something to skip, a folder to go into, or nothing."""
        try:
            status = os.lstat(path)
        except (OSError, ValueError) as error:
            return skipped_for(name, error)
        mode = status.st_mode
        is_folder = stat.S_ISDIR(mode)
        base = os.path.basename(path)
        if base == ".git" or (base.startswith(".") and not self._hidden):
            return Skipped(name, "hidden")
        spelled = f"{name}/" if is_folder else name
        if self._exclude is not None and self._exclude.match_file(spelled):
            return Skipped(name, "ignored", "by exclude")
        if rules is not None and rules.leaves_out(path, is_folder):
            return Skipped(name, "ignored", "by .gitignore")
        if stat.S_ISLNK(mode) or getattr(status, "st_reparse_tag", 0) in _JUNCTIONS:
            return self._link(path, name)
        if is_folder:
            if name.count("/") < _DEEPEST:
                return path
            return Skipped(name, "too large", f"it lies in more than {_DEEPEST} folders")
        if not stat.S_ISREG(mode):
            return Skipped(name, "special", file_kind(mode))
        if self._include is not None and not self._include.match_file(name):
            return None
        return FileEntry(path, name, status.st_size, status.st_mtime_ns)

    def _link(self, path: str, name: str) -> Skipped:
        try:
            target = os.path.realpath(path, strict=True)
        except OSError as error:
            looped = "leads to itself" if not isinstance(error, FileNotFoundError) else ""
            return Skipped(name, "link", looped or "leads to nothing")
        if target == self._top or target.startswith(os.path.join(self._top, "")):
            inside = os.path.relpath(target, self._top).replace(os.sep, "/")
            return Skipped(name, "link", f"to {inside}, which is read under its own name")
        return Skipped(name, "outside", f"a link to {target}")


def _valid(name: str) -> str:
    """A name that is not UTF-8 with its wrong bytes spelled out: no text holds them."""
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def _taken(names: list[str]) -> Iterator[str]:
    """The names from the last to the first; each is let go as it is taken."""
    while names:
        yield names.pop()


def skipped_for(name: str, error: Exception) -> Skipped:
    """Why the file or folder `name` cannot be read, by what the system says."""
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return Skipped(name, "gone")
    return Skipped(name, "unreadable", reason_of(error))
