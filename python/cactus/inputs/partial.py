"""Names under which files and folders are made, and the removal of what was left under them.

What is made lies beside what it will be, as `.NAME.partial-MACHINE-PROCESS-RANDOM`, until it is
whole. A crash leaves it there, and a disk that does not answer keeps it from being removed: whoever
comes next on the same machine takes it away. Others may share the folder, so theirs stays.
"""

from __future__ import annotations

import os
import platform
import re
import secrets
import shutil
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path

_SHOWN = 50
"""Characters of the name that the other name has, so that it is never too long."""
_FOLDERS = 256
_held: set[str] = set()
_swept: set[Path] = set()


def begin(path: Path, kind: str = "partial") -> Path:
    """A name beside `path` that nothing has, and that is nobody else's until its `end`.

    `kind`: "partial", or "old" for what `path` is called until its successor is there.
    """
    name = f".{path.name[:_SHOWN]}.{kind}-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    _held.add(name)
    return path.with_name(name)


def end(partial: Path) -> None:
    """Remove what still has the name. What cannot be removed is left to the next `sweep`."""
    _remove(partial)
    _held.discard(partial.name)


def sweep(folder: Path) -> None:
    """Remove what was left in a folder by processes that have ended, and by this one.

    What cannot be removed, or listed, stays until the next time.
    """
    left = re.compile(rf"\..*\.(?:partial|old)-{_machine()}-(\d+)-[0-9a-f]{{8}}", re.DOTALL)
    with suppress(OSError):
        for name in os.listdir(folder):
            if (match := left.fullmatch(name)) and name not in _held:
                process = int(match[1])
                if process == os.getpid() or not is_running(process):
                    _remove(folder / name)


def sweep_once(folder: Path) -> None:
    """`sweep` a folder into which much may be written: once, and again after a failed removal."""
    if folder not in _swept:
        if len(_swept) >= _FOLDERS:
            _swept.clear()
        _swept.add(folder)
        sweep(folder)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    if os.path.lexists(path):
        _swept.discard(path.parent)


@cache
def _machine() -> str:
    return f"{zlib.crc32(platform.node().encode('utf-8', 'replace')):08x}"


def is_running(process: int) -> bool:
    """Whether a process of this machine runs; on Windows, where asking would disturb it, True."""
    if os.name == "nt":  # there the call would press Ctrl-C in that process
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
