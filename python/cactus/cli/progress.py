"""Showing how far something is: a bar on a terminal, a line per task elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich import progress as rich_progress
    from rich.console import Console, RenderableType

    class WhenKnown(rich_progress.ProgressColumn):
        """Another column, empty while nobody knows how much there is."""

        def __init__(self, column: rich_progress.ProgressColumn) -> None:
            super().__init__()
            self._column = column

        def render(self, task: rich_progress.Task) -> RenderableType:
            return self._column(task) if task.total is not None else ""

    columns = (
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(bar_width=24),
        WhenKnown(rich_progress.DownloadColumn()),
        WhenKnown(rich_progress.TransferSpeedColumn()),
        WhenKnown(rich_progress.TimeRemainingColumn()),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, rich_progress.TaskID] = {}

        def progress(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(_short(label), total=None)
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


def _short(label: str) -> str:
    label = printable(label)
    return label if len(label) <= 44 else f"{label[:43]}…"
