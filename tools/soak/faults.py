"""Faults of files and of the clock, for processes that are started with the library of faults.c.

It also says what such a process has of its heap.
"""

from __future__ import annotations

import mmap
import os
import random
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

KINDS = ("ENOSPC", "EIO", "EINTR", "short", "ENOMEM")
"""In the order of faults.c; "short": less is moved than asked, "ENOMEM": of mapping a file."""
_SHIFT = struct.Struct("<q")
_CHANCES = struct.Struct(f"<{len(KINDS)}I")
_HEAP = struct.Struct("<QQQII")
_HEAP_AT = _SHIFT.size + 2 * _CHANCES.size
_SIZE = 4096
SINGLE = {"ENOSPC": 0.2, "EIO": 0.1, "EINTR": 0.3, "short": 0.6, "ENOMEM": 0.5}
MIX = {"ENOSPC": 0.02, "EIO": 0.02, "EINTR": 0.1, "short": 0.2, "ENOMEM": 0.05}
"""Chances, where one kind happens and where all do."""
PATIENCE = 60
"""Seconds in which a process has to say what its heap is."""
DAY = 86_400_000_000_000
STEPS = (0, 3_600_000_000_000, -3_600_000_000_000, 400 * DAY, -30 * DAY)
"""Nanoseconds by which a clock is wrong, before somebody sets it to another of them."""


def chances(turn: int, chosen: random.Random) -> dict[str, float]:
    """One kind of fault alone, by turns, or all of them; rare ones get further into the work."""
    turn %= len(KINDS) + 1
    found = MIX if turn == len(KINDS) else {KINDS[turn]: SINGLE[KINDS[turn]]}
    rarer = chosen.choice((1.0, 0.3, 0.1))
    return {kind: rarer * chance for kind, chance in found.items()}


def build(target: Path) -> Path:
    """Compile the library."""
    source = Path(__file__).with_name("faults.c")
    command = ["cc", "-std=gnu2x", "-O2", "-U_FORTIFY_SOURCE", "-shared", "-fPIC", "-o"]
    subprocess.run([*command, str(target), str(source), "-ldl"], check=True)
    return target


class Faults:
    """What happens to the processes that have `environment`, all of which share `file`."""

    def __init__(self, file: Path) -> None:
        self.file = file
        if not file.exists():
            file.write_bytes(bytes(_SIZE))
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), _SIZE)

    def environment(self, library: Path, folder: Path) -> dict[str, str]:
        """For a process in which files below `folder` can fail."""
        preload = {"LD_PRELOAD": str(library)}
        return {**preload, "SOAK_FAULTS": str(self.file), "SOAK_FOLDER": os.path.realpath(folder)}

    @contextmanager
    def on(self, chances: Mapping[str, float]) -> Iterator[None]:
        """Let calls fail within the block, each kind with its chance."""
        wanted = [int(1_000_000 * chances.get(kind, 0)) for kind in KINDS]
        _CHANCES.pack_into(self._shared, _SHIFT.size, *wanted)
        try:
            yield
        finally:
            _CHANCES.pack_into(self._shared, _SHIFT.size, *[0] * len(KINDS))

    def step_clock(self, chosen: random.Random) -> None:
        """Set the clock of the day to another time."""
        _SHIFT.pack_into(self._shared, 0, chosen.choice(STEPS))

    def done(self) -> dict[str, int]:
        """How often each kind has happened."""
        counts = _CHANCES.unpack_from(self._shared, _SHIFT.size + _CHANCES.size)
        return dict(zip(KINDS, counts, strict=True))

    def heap(self, pid: int, wake: Callable[[], object]) -> dict[str, int]:
        """Bytes of a process's heap, malloc's and Python's: in use, of Python, and free.

        `wake` has the process do something. Raises TimeoutError.
        """
        _HEAP.pack_into(self._shared, _HEAP_AT, 0, 0, 0, 0, pid)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            wake()
            used, kept, objects, told, _ = _HEAP.unpack_from(self._shared, _HEAP_AT)
            if told:
                return {"in use": used, "of Python": objects, "kept": kept}
            time.sleep(0.01)
        raise TimeoutError(f"process {pid} has not said what its heap is")
