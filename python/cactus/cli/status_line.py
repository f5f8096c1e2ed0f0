"""The last line of the terminal: how much of the audio is transcribed, or what is said."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from cactus.cli.text import is_terminal, printable

BAR = 24
"""Columns of the bar, where the terminal has room for one."""


class StatusLine:
    """The last line of the terminal; none where stderr is not a terminal, or if `quiet`.

    What is printed to the same terminal goes between ``clear()`` and the next ``show()``.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._shown = not quiet and is_terminal(sys.stderr)

    def show(self, render: Callable[[int], str]) -> None:
        """Draw what `render` makes of a number of columns."""
        if self._shown:
            # Of this terminal: stdout may be a pipe. Two columns stay free for the ^C it shows.
            columns = (os.get_terminal_size(sys.stderr.fileno()).columns or 80) - 3
            print(f"\r\x1b[K{render(columns)}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take it away."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def audio_line(
    name: str, seconds: float, duration: float | None, elapsed: float, columns: int
) -> str:
    """The name, a bar, how much of the audio is done, and how many times faster than it plays."""
    from rich.cells import cell_len, set_cell_size

    right = time_of(seconds)
    if duration:
        seconds = min(seconds, duration)
        right = f"{time_of(seconds)} / {time_of(duration)}"
    if seconds:
        right += f"  {speed(seconds, elapsed)}"
    if duration and columns >= BAR + len(right) + 20:
        done = round(BAR * seconds / duration)
        right = f"{'━' * done}{'─' * (BAR - done)}  {right}"
    name, room = printable(name), columns - len(right) - 2
    if cell_len(name) > room:
        name = set_cell_size(name, max(0, room - 1)) + "…"
    return f"{name}  {right}"[: max(0, columns)]


def spoken_line(seconds: float, text: str, columns: int) -> str:
    """The last of what is being said, behind the time since the beginning."""
    from rich.cells import cell_len

    ahead, shown = f"{time_of(seconds)}  ", printable(" ".join(text.split()))
    room = max(0, columns - len(ahead))
    if cell_len(shown) > room:
        while shown and cell_len(shown) > room - 1:
            shown = shown[1:]
        shown = f"…{shown}"
    return f"{ahead}{shown}"[: max(0, columns)]


def time_of(seconds: float) -> str:
    """1:05, or 2:01:05 from the first hour on."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def speed(seconds: float, elapsed: float) -> str:
    """How many times faster than it plays `seconds` of audio were transcribed: 12.3x."""
    return f"{seconds / max(elapsed, 1e-3):.1f}x"
