"""Showing how far something is: a bar on a terminal, a line per task elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Timer

from cactus.cli.text import megabytes, printable
from cactus.weights.locate import Progress


@contextmanager
def show_progress() -> Iterator[Progress]:
    """A `Progress` that shows bytes on stderr, so that stdout carries results only."""
    if sys.stderr.isatty():
        with _bars() as progress:
            yield progress
    else:
        yield _lines()


@contextmanager
def show_status() -> Iterator[Callable[[str], None]]:
    """Shows what is going on in one line of a terminal, gone at the end; elsewhere nothing.

    Nothing moves by itself: an animation would take time from what is being measured.
    """
    if not sys.stderr.isatty():
        yield lambda text: None
        return

    def show(text: str) -> None:
        print(f"\r\x1b[K{printable(text)}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        show("")


class Late:
    """A line at the foot of the terminal, shown only where the wait for `clear` is long."""

    def __init__(self, text: str, *, quiet: bool = False, seconds: float = 0.3) -> None:
        self._text = printable(text)
        self._lock = Lock()
        self._cleared = self._shown = False
        self._timer = Timer(seconds, self._show)
        self._timer.daemon = True
        self._wanted = not quiet and sys.stderr.isatty()

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


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich import progress as rich_progress
    from rich.console import Console, RenderableType
    from rich.table import Column

    console = Console(stderr=True)
    # Sizes, speed and time take 35 columns; two stay free for the ^C that a terminal shows.
    bar = 24 if console.width >= 108 else 10 if console.width >= 76 else 0
    limit = max(12, min(44, console.width - bar - 37))

    class WhenKnown(rich_progress.ProgressColumn):
        """Another column, empty while nobody knows how much there is."""

        def __init__(self, column: rich_progress.ProgressColumn) -> None:
            super().__init__(Column(no_wrap=True))
            self._column = column

        def render(self, task: rich_progress.Task) -> RenderableType:
            return self._column(task) if task.total is not None else ""

    columns = (
        rich_progress.TextColumn(
            "{task.description}", markup=False, table_column=Column(no_wrap=True)
        ),
        *([rich_progress.BarColumn(bar_width=bar)] if bar else []),
        WhenKnown(rich_progress.DownloadColumn()),
        WhenKnown(rich_progress.TransferSpeedColumn()),
        WhenKnown(rich_progress.TimeRemainingColumn()),
    )
    with rich_progress.Progress(*columns, console=console) as bars:
        tasks: dict[str, rich_progress.TaskID] = {}

        def progress(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(_short(label, limit), total=None)
            bars.update(tasks[label], completed=done, total=total or None)

        yield progress
        for task in tasks.values():  # what had no known length is over now
            if bars.tasks[task].total is None:
                bars.update(task, visible=False)


def _lines() -> Progress:
    shown: set[tuple[str, bool]] = set()

    def progress(label: str, done: int, total: int) -> None:
        state = (label, bool(total) and done >= total)
        if state not in shown:
            shown.add(state)
            size = f" ({megabytes(total)})" if total else ""
            print(
                f"{printable(label)}{': done' if state[1] else f'{size} ...'}",
                file=sys.stderr,
                flush=True,
            )

    return progress


def _short(label: str, limit: int) -> str:
    label = printable(label)
    return label if len(label) <= limit else f"{label[: limit - 1]}…"
