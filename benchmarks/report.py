"""Medians, ranges and ratios of interleaved rounds, and the tables they are printed in."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    """One measurement of every side that has it, by their names.

    ``ratios``: each side of ours to the best peer. ``best`` says which that is, and ``note`` what
    else there is to say.
    """

    name: str
    threads: int
    unit: str
    found: dict[str, Spread]
    ratios: dict[str, Spread]
    best: str = ""
    note: str = ""
    of_bandwidth: dict[str, float] = field(default_factory=dict)


Rounds = Mapping[str, Sequence[float]]
"""By side, one value for each round; none for a side that was not run."""


def thread_text(count: int) -> str:
    """'1 thread', '2 threads'."""
    return f"{count} thread" + ("" if count == 1 else "s")


def compare(
    name: str, threads: int, unit: str, ours: Rounds, peers: Rounds, note: str = ""
) -> Line:
    """Put the rounds of all sides beside each other.

    The best peer is the one with the best median: most tokens/s, least of any other unit. A ratio
    is ours / that peer round by round, then the median of those: what disturbs the machine for a
    while disturbs all sides of a round.
    """
    found = {side: Spread.of(values) for side, values in {**ours, **peers}.items() if values}
    sign = 1 if unit == "tokens/s" else -1
    met = [side for side in peers if side in found]
    best = max(met, key=lambda side: sign * found[side].median, default="")
    ratios = {
        side: Spread.of([a / b for a, b in zip(values, peers[best], strict=True)])
        for side, values in ours.items()
        if best and values and len(values) == len(peers[best])
    }
    return Line(name, threads, unit, found, ratios, best, note)


def summary(found: Sequence[tuple[str, str, int, Spread]]) -> str:
    """The ratios alone, of (label, model, threads, ratio): a row for each label, a column for each
    model and number of threads, as one Markdown table."""
    cells = {(label, model, count): f"{ratio.median:.2f}×" for label, model, count, ratio in found}
    rows = list(dict.fromkeys(label for label, _, _ in cells))
    columns = list(dict.fromkeys((model, threads) for _, model, threads in cells))
    head = ["ratios", *(f"{model}, {thread_text(threads)}" for model, threads in columns)]
    return _padded(
        [head, *([row, *(cells.get((row, *column), "") for column in columns)] for row in rows)]
    )


def table(title: str, lines: Sequence[Line], ours: Sequence[str], peers: Sequence[str]) -> str:
    """All figures of some sides as a Markdown table, padded so that it reads well in a terminal."""
    single = peers[0] if len(peers) == 1 else "best peer"
    measured = [side for side in ours if any(side in line.of_bandwidth for line in lines)]
    head = [title, "threads", *ours, *peers, *(f"{side} / {single}" for side in ours)]
    head += ["best peer"] if len(peers) > 1 else []
    head += [f"of read bandwidth: {side}" for side in measured]
    rows = [head]
    for line in lines:
        digits = {"tokens/s": 0, "s": 3}.get(line.unit, 1)
        name = f"{line.name}, {line.unit}" + (f" ({line.note})" if line.note else "")
        row = [name, str(line.threads)]
        row += [_show(line.found.get(side), digits) for side in (*ours, *peers)]
        row += [_show(line.ratios.get(side), 2) for side in ours]
        row += [line.best] if len(peers) > 1 else []
        row += [_percent(line.of_bandwidth.get(side)) for side in measured]
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
