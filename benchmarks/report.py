"""Medians, ranges and ratios of interleaved rounds, and the tables they are printed in."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from runner import BenchmarkError


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of one value over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def show(self, digits: int) -> str:
        """'median (low..high)'."""
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}..{self.high:,.{digits}f})"


@dataclass(frozen=True)
class Line:
    """One measurement of both sides; a side that was not run is None."""

    name: str
    threads: int
    unit: str
    ours: Spread | None
    theirs: Spread | None
    ratio: Spread | None
    ours_of_bandwidth: float | None = None
    theirs_of_bandwidth: float | None = None
    note: str = ""


def thread_text(count: int) -> str:
    """'1 thread', '2 threads'."""
    return f"{count} thread" + ("" if count == 1 else "s")


def compare(
    name: str,
    threads: int,
    unit: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    note: str = "",
) -> Line:
    """Put two lists of rounds side by side.

    The ratio is ours / theirs round by round, then the median of those: what disturbs the machine
    for a while disturbs both sides of a round.
    """
    both = len(ours) == len(theirs) and len(ours) > 0
    ratio = Spread.of([a / b for a, b in zip(ours, theirs, strict=True)]) if both else None
    return Line(
        name,
        threads,
        unit,
        Spread.of(ours) if ours else None,
        Spread.of(theirs) if theirs else None,
        ratio,
        note=note,
    )


def summary(found: Sequence[tuple[str, str, Line]]) -> str:
    """The ratios alone, of (label, model, line): a row for each label, a column for each model
    and number of threads, as one Markdown table."""
    cells = {
        (label, model, line.threads): f"{line.ratio.median:.2f}×"
        for label, model, line in found
        if line.ratio is not None
    }
    rows = list(dict.fromkeys(label for label, _, _ in cells))
    columns = list(dict.fromkeys((model, threads) for _, model, threads in cells))
    head = ["ratios", *(f"{model}, {thread_text(threads)}" for model, threads in columns)]
    return _padded(
        [head, *([row, *(cells.get((row, *column), "") for column in columns)] for row in rows)]
    )


def table(title: str, lines: Sequence[Line], sides: tuple[str, str], with_bandwidth: bool) -> str:
    """All figures of one pair as a Markdown table, padded so that it reads well in a terminal."""
    ours, peer = sides
    head = [title, "threads", ours, peer, f"{ours} / {peer}"]
    if with_bandwidth:
        head += [f"of read bandwidth: {ours}", peer]
    rows = [head]
    for line in lines:
        digits = {"tokens/s": 0, "s": 3}.get(line.unit, 1)
        name = f"{line.name}, {line.unit}" + (f" ({line.note})" if line.note else "")
        row = [name, str(line.threads)]
        row += [_show(line.ours, digits), _show(line.theirs, digits), _show(line.ratio, 2)]
        if with_bandwidth:
            row += [_percent(line.ours_of_bandwidth), _percent(line.theirs_of_bandwidth)]
        rows.append(row)
    return _padded(rows)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as a Markdown table; the first one is the head."""
    return _lines([rows[0], ["---"] * len(rows[0]), *rows[1:]])


def _padded(rows: list[list[str]]) -> str:
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    ruled = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return _lines(
        [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in ruled]
    )


def _lines(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _show(spread: Spread | None, digits: int) -> str:
    return "" if spread is None else spread.show(digits)


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.0f} %"


END = "<!-- end -->"


def mark(tool: str = "compare.py") -> str:
    """The line below which a tool's tables stand."""
    return f"<!-- written by benchmarks/{tool} -->"


def publish(path: Path, block: str, tool: str = "compare.py") -> None:
    """Replace what stands between the two marks that a tool has in a Markdown file."""
    before, begin, rest = path.read_text().partition(mark(tool))
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise BenchmarkError(f"{path} has no lines {mark(tool)!r} and {END!r} to write between")
    path.write_text(f"{before}{begin}\n\n{block}\n\n{END}{after}")
