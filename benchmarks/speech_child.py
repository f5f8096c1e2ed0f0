"""What the child processes of the speech benchmarks share: their arguments, and the clock."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of what every child takes."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("model")
    made.add_argument("files", nargs="*")
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--beams", type=int, default=5)
    made.add_argument("--repeats", type=int, default=1)
    made.add_argument("--language", default="en", help='a code, or "auto"')
    made.add_argument("--batch", type=int, default=1, help="passages of a file at a time")
    return made


def timed(
    files: list[str], repeats: int, hear: Callable[[str], Any]
) -> tuple[list[float], list[Any]]:
    """The seconds of every run, and what the first of each file heard."""
    seconds, heard = [], []
    for file in files:
        for repeat in range(repeats):
            start = time.perf_counter()
            found = hear(file)
            seconds.append(time.perf_counter() - start)
            if repeat == 0:
                heard.append(found)
    return seconds, heard


def timed_encoder(repeats: int, encode: Callable[[], object]) -> list[float]:
    """The seconds of every run but the first, which warms up."""
    seconds, _ = timed([""], repeats + 1, lambda _: encode())
    return seconds[1:]
