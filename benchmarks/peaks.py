"""What the machine can do at most, measured by the native library in a child of its own.

Run as a program it is that child. Arguments: threads, bytes of the buffer that is read.
"""

from __future__ import annotations

import json
import sys

from runner import Child, run_child

LARGE = 512 << 20


def measure(threads: int, buffer_bytes: int = LARGE) -> Child:
    """A child that printed ``bytes_per_second`` of reading a buffer again and again,
    ``int8_per_second`` of dots, and more, as JSON."""
    return run_child([sys.executable, __file__, str(threads), str(buffer_bytes)])


if __name__ == "__main__":
    from cactus.native import machine_peaks

    print(json.dumps(machine_peaks(int(sys.argv[1]), None, int(sys.argv[2]))._asdict()))
