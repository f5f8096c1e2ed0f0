"""Medians, ranges and ratios of interleaved rounds, and the tables they are printed in."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


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


def table(title: str, lines: Sequence[Line], with_bandwidth: bool) -> str:
    """A Markdown table, padded so that it reads well in a terminal too."""
    head = [title, "threads", "ours", "llama.cpp", "ours / llama.cpp"]
    if with_bandwidth:
        head += ["of read bandwidth: ours", "llama.cpp"]
    rows = [head, ["-"] * len(head)]
    for line in lines:
        digits = {"tokens/s": 0, "s": 3}.get(line.unit, 1)
        name = f"{line.name}, {line.unit}" + (f" ({line.note})" if line.note else "")
        row = [name, str(line.threads)]
        row += [_show(line.ours, digits), _show(line.theirs, digits), _show(line.ratio, 2)]
        if with_bandwidth:
            row += [_percent(line.ours_of_bandwidth), _percent(line.theirs_of_bandwidth)]
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    rows[1] = ["-" * width for width in widths]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )


def _show(spread: Spread | None, digits: int) -> str:
    return "" if spread is None else spread.show(digits)


def _percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{100 * fraction:.0f} %"
