"""What a terminal shows while a command works."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Timer

from cactus.cli.text import is_terminal, printable


@contextmanager
def show_status() -> Iterator[Callable[[str], None]]:
    """Shows what is going on in one line of a terminal, gone at the end; elsewhere nothing.

    Nothing moves by itself: an animation would take time from what is being measured.
    """
    if not is_terminal(sys.stderr):
        yield lambda text: None
        return

    def show(text: str) -> None:
        print(f"\r\x1b[K{printable(text)}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        show("")


class Late:
    """The last line of the terminal, shown only where the wait for `clear` is long."""

    def __init__(self, text: str, *, quiet: bool = False, seconds: float = 0.3) -> None:
        self._text = printable(text)
        self._lock = Lock()
        self._cleared = self._shown = False
        self._timer = Timer(seconds, self._show)
        self._timer.daemon = True
        self._wanted = not quiet and is_terminal(sys.stderr)

    def __enter__(self) -> Late:
        if self._wanted:
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        """Take it away; it does not come again."""
        with self._lock:
            self._timer.cancel()
            if self._shown and not self._cleared:
                print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._cleared = True

    def _show(self) -> None:
        with self._lock:
            if not self._cleared:
                self._shown = True
                print(f"\r\x1b[K{self._text}", end="", file=sys.stderr, flush=True)
