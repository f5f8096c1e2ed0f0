"""What a folder's .gitignore files leave out, and patterns of the same form from a caller."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cactus.documents.types import Skipped
from cactus.inputs.checks import short
from cactus.inputs.text import reason_of

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_LONGEST = 1 << 20  # bytes of a .gitignore file that is believed
_STARS = re.compile(r"\*+")
_MOST_STARS = 3  # in one part of a path; matching may take (length of a name) ^ stars steps


def compile_patterns(
    lines: Sequence[str], refused: Callable[[int, str], None] | None = None
) -> GitIgnoreSpec:
    """Patterns as in a .gitignore; those that could take forever go to `refused` with their line.

    Raises ValueError for such a pattern where there is no `refused`.
    """
    from pathspec import GitIgnoreSpec

    kept = []
    for number, line in enumerate(lines, 1):
        try:
            if any(len(_STARS.findall(part)) > _MOST_STARS for part in line.split("/")):
                raise ValueError(f"more than {_MOST_STARS} stars in one part: {short(line)}")
            GitIgnoreSpec.from_lines([line])
        except ValueError as error:
            if refused is None:
                raise ValueError(f"pattern {short(line)}: {error}") from None
            refused(number, str(error))
        else:
            kept.append(line)
    return GitIgnoreSpec.from_lines(kept)


class GitIgnore:
    """The .gitignore files from the top of a repository down to one folder, the nearest first."""

    def __init__(self, folder: str, spec: GitIgnoreSpec | None, above: GitIgnore | None) -> None:
        self._cut = len(os.path.join(folder, ""))
        self._spec, self._above = spec, above

    def leaves_out(self, path: str, is_folder: bool) -> bool:
        """Whether the file or folder at the absolute `path` is left out."""
        level: GitIgnore | None = self
        while level is not None:
            if level._spec is not None:
                name = path[level._cut :].replace(os.sep, "/")
                found = level._spec.check_file(name + "/" if is_folder else name).include
                if found is not None:
                    return bool(found)
            level = level._above
        return False

    def inside(self, folder: str, skip: Callable[[Skipped], None], name: str) -> GitIgnore:
        """The rules in a folder below: those of its own .gitignore before these."""
        spec = read_rules(os.path.join(folder, ".gitignore"), skip, f"{name}.gitignore")
        return GitIgnore(folder, spec, self) if spec is not None else self


def rules_at(root: str, skip: Callable[[Skipped], None]) -> GitIgnore:
    """The rules that hold in `root`: its own, and those of the repository that it is in."""
    folders = [root]
    while not os.path.lexists(os.path.join(folders[-1], ".git")):
        parent = os.path.dirname(folders[-1])
        if parent == folders[-1]:  # no repository: only what lies in the root counts
            folders = [root]
            break
        folders.append(parent)
    top = folders[-1]
    exclude = os.path.join(top, ".git", "info", "exclude")
    rules = GitIgnore(top, read_rules(exclude, skip, ".git/info/exclude"), None)
    for folder in folders[:0:-1]:
        rules = rules.inside(folder, skip, "")
    if len(folders) > 1 and rules.leaves_out(root, True):
        rules = GitIgnore(root, None, None)  # who names an ignored folder wants it
    return rules.inside(root, skip, "")


def read_rules(path: str, skip: Callable[[Skipped], None], name: str) -> GitIgnoreSpec | None:
    """The patterns in a file; None where there is none. What is wrong with it is skipped."""
    try:
        status = os.lstat(path)
    except OSError:  # there is none; a folder that cannot be read is skipped itself
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    if status.st_size > _LONGEST:
        skip(Skipped(name, "too large", "its patterns are not used"))
        return None
    try:
        with open(path, "rb") as file:
            text = file.read(_LONGEST).decode("utf-8", "replace")
    except OSError as error:
        skip(Skipped(name, "unreadable", f"its patterns are not used: {reason_of(error)}"))
        return None

    def refused(line: int, why: str) -> None:
        skip(Skipped(name, "damaged", f"line {line} is not used: {why}"))

    return compile_patterns(text.splitlines(), refused)
