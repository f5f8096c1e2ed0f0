"""What the machine can do at most, measured by the native library in a child of its own.

Run as a program it is that child. Arguments: threads, bytes of the buffer that is read.
"""

from __future__ import annotations

import json
import sys

from runner import Child, run_child

LARGE = 512 << 20
AMX_BF16 = "amx_bf16"


def measure(threads: int, buffer_bytes: int = LARGE) -> Child:
    """A child that printed ``bytes_per_second`` of reading a buffer again and again,
    ``int8_per_second`` of dots, and more, as JSON."""
    return run_child([sys.executable, __file__, str(threads), str(buffer_bytes)])


def of_tower(int8_per_second: float, isa: str) -> float:
    """Operations a second that bound a tower of 8-bit weights: tier amx_bf16 makes one product of
    bf16 in the time of two dots of int8."""
    return int8_per_second / 2 if isa == AMX_BF16 else int8_per_second


if __name__ == "__main__":
    from cactus.native import machine_peaks

    print(json.dumps(machine_peaks(int(sys.argv[1]), None, int(sys.argv[2]))._asdict()))
