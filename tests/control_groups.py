"""Control groups that a test puts processes into, where the system lets it make some."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

GROUPS = Path("/sys/fs/cgroup")


@contextmanager
def memory_group(limit: int) -> Iterator[list[str]]:
    """What to put before a command that may use `limit` bytes. Skips the test where none is."""
    folder = _made(f"cactus-test-{os.getpid()}", limit)
    if folder is None:
        pytest.skip("no control group can be made here")
    try:
        yield ["sh", "-c", f'echo $$ > {folder}/cgroup.procs && exec "$@"', "sh"]
    finally:
        folder.rmdir()


def _made(name: str, limit: int) -> Path | None:
    for root, file in ((GROUPS / "memory", "memory.limit_in_bytes"), (GROUPS, "memory.max")):
        folder = root / name
        try:
            folder.mkdir()
            (folder / file).write_text(str(limit))
            return folder
        except OSError:
            if folder.is_dir():
                folder.rmdir()
    return None
