"""Showing how far something is: a bar on a terminal, lines or a log elsewhere."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from cactus.inputs.text import megabytes, printable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is (0: unknown).

The amounts are bytes where nothing else is said.
"""

_LATE = 1.0  # seconds of work without a bar

log = logging.getLogger("cactus.progress")


@contextmanager
def chosen_progress(
    wanted: Progress | bool | None, unit: str = "bytes"
) -> Iterator[Progress | None]:
    """The `Progress` that a caller of the library wants, for amounts of `unit`.

    A function is called; True shows bars (lines where there is no terminal), False nothing. None
    shows bars on a terminal once the work has taken a second, and is in the log elsewhere.
    """
    if callable(wanted):
        yield wanted
    elif wanted is False:
        yield None
    elif wanted:
        with show_progress(unit) as progress:
            yield progress
    elif sys.stderr is not None and sys.stderr.isatty():
        with _late_bars(unit) as progress:
            yield progress
    else:
        yield _lines(unit, log.info) if log.isEnabledFor(logging.INFO) else None


@contextmanager
def show_progress(unit: str = "bytes") -> Iterator[Progress]:
    """A `Progress` that shows amounts of `unit` on stderr, so that stdout carries results only."""
    if sys.stderr.isatty():
        with _bars(unit) as progress:
            yield progress
    else:
        yield _lines(unit, _print)


@contextmanager
def _late_bars(unit: str) -> Iterator[Progress]:
    began = time.monotonic()
    with ExitStack() as stack:
        bars: Progress | None = None

        def progress(label: str, done: int, total: int) -> None:
            nonlocal bars
            if bars is None and time.monotonic() - began > _LATE:
                bars = stack.enter_context(_bars(unit))
            if bars is not None:
                bars(label, done, total)

        yield progress


@contextmanager
def _bars(unit: str) -> Iterator[Progress]:
    from rich import progress as rich_progress
    from rich.console import Console, RenderableType
    from rich.table import Column

    # soft_wrap: what is printed above the bars may be data, and keeps its lines.
    console = Console(stderr=True, soft_wrap=True)
    width = console.width

    class Cell(rich_progress.ProgressColumn):
        """A column of one line, empty while nobody knows how much there is."""

        def __init__(self, render: Callable[[rich_progress.Task], RenderableType]) -> None:
            super().__init__(Column(no_wrap=True))
            self._render = render

        def render(self, task: rich_progress.Task) -> RenderableType:
            return self._render(task) if task.total is not None else ""

    def share(task: rich_progress.Task) -> str:
        return f"{int(task.percentage):3d}%"

    def amount(task: rich_progress.Task) -> str:
        amount = amount_of(int(task.completed), int(task.total or 0), unit)
        return amount if unit == "bytes" or width >= 108 else amount.removesuffix(f" {unit}")

    def rate(task: rich_progress.Task) -> str:
        speed = task.finished_speed or task.speed
        return rate_of(speed, unit) if speed else ""

    left = rich_progress.TimeRemainingColumn(compact=True)
    # What a narrow terminal has no room for is left out, the bar last; two columns stay free for
    # the ^C that a terminal shows.
    bar = 24 if width >= 108 else 10 if width >= 76 else 8
    cells = [Cell(amount), Cell(rate)] if width >= 76 else [Cell(share)]
    if width >= 56:
        cells.append(Cell(left.render))
    amounts = 37 if unit == "bytes" else 46
    taken = bar + (amounts if width >= 76 else 17 if width >= 56 else 8)
    limit = max(8, min(44, width - taken))
    with rich_progress.Progress(
        rich_progress.TextColumn(
            "{task.description}", markup=False, table_column=Column(no_wrap=True)
        ),
        rich_progress.BarColumn(bar_width=bar),
        *cells,
        console=console,
        # On the same terminal what is printed stands above the bar; from anywhere else it would be
        # taken away, as it goes to the bar's stderr.
        redirect_stdout=_is_one_terminal(),
    ) as bars:
        tasks: dict[str, rich_progress.TaskID] = {}

        def progress(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(_short(label, limit), total=None)
            bars.update(tasks[label], completed=done, total=total or None)

        yield progress
        for task in tasks.values():  # what had no known length is over now
            if bars.tasks[task].total is None:
                bars.update(task, visible=False)


def _is_one_terminal() -> bool:
    """Whether stdout is the terminal of stderr."""
    if sys.stdout is None or not sys.stdout.isatty():
        return False
    try:
        return os.path.sameopenfile(sys.stdout.fileno(), sys.stderr.fileno())
    except OSError:  # a stream without a descriptor
        return False


def _lines(unit: str, write: Callable[[str], object]) -> Progress:
    shown: set[tuple[str, bool]] = set()

    def progress(label: str, done: int, total: int) -> None:
        state = (label, bool(total) and done >= total)
        if state not in shown:
            shown.add(state)
            size = f" ({_number(total, unit)})" if total else ""
            write(f"{printable(label)}{': done' if state[1] else f'{size} ...'}")

    return progress


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def amount_of(done: int, total: int, unit: str) -> str:
    """How much of how much: 1.0/2.0 MB, 512/4,096 tokens."""
    if unit != "bytes":
        return f"{done:,}/{total:,} {unit}"
    for name, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if total >= factor:
            return f"{done / factor:.1f}/{total / factor:.1f} {name}"
    return f"{done}/{total} B"


def rate_of(speed: float, unit: str) -> str:
    """How much a second: 2.0 MB/s, 47/s, and 0.42/s where one takes seconds."""
    if unit == "bytes":
        return f"{megabytes(speed)}/s"
    return f"{speed:,.0f}/s" if speed >= 10 else f"{speed:.2g}/s"


def _number(amount: float, unit: str) -> str:
    return megabytes(amount) if unit == "bytes" else f"{amount:,.0f} {unit}"


def _short(label: str, limit: int) -> str:
    label = printable(label)
    return label if len(label) <= limit else f"{label[: limit - 1]}…"
