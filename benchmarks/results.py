"""From the samples of the rounds to lines, printed tables and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cases import DEEP, Case
from report import Line, Spread, compare, summary, table
from rounds import (
    BUSY_LIMIT,
    CHAT,
    FROM_DISK,
    IMPORT,
    IN_CACHE,
    NO_PYTHON,
    Pair,
    Quiet,
    bandwidth,
)
from sides import Side

HEADLINE = ("prefill 512", "decode", DEEP, IN_CACHE, f"peak RSS, {DEEP}")
"""The measurements that the README shows."""


@dataclass
class Results:
    """Everything that one run of the benchmark found."""

    machine: dict[str, object]
    versions: dict[str, str]
    pairs: list[Pair]
    threads: list[int]
    rounds: int
    quiet: Quiet
    peaks: dict[str, list[float]] = field(default_factory=dict)

    def rate_lines(self, pair: Pair) -> list[Line]:
        """Tokens/s of every case; for decoding also the fraction of the read bandwidth."""
        lines = []
        for count in self.threads:
            for case in pair.cases:
                ours, _ = pair.ours.best(case, count)
                theirs, variant = pair.peer.best(case, count)
                if not ours and not theirs:
                    continue
                note = f"its attention: flash {variant}" if variant in ("on", "off") else ""
                line = compare(case.name, count, "tokens/s", ours, theirs, note)
                if case.gen and pair.kv_bytes:
                    line = replace(
                        line,
                        ours_of_bandwidth=self._of_bandwidth(pair, pair.ours, case, count),
                        theirs_of_bandwidth=self._of_bandwidth(pair, pair.peer, case, count),
                    )
                lines.append(line)
        return lines

    def _of_bandwidth(self, pair: Pair, side: Side, case: Case, threads: int) -> float | None:
        rates, _ = side.best(case, threads)
        if side.footprint is None or not rates:
            return None
        per_token = side.footprint.weights + pair.kv_bytes * case.mean_context
        return per_token * Spread.of(rates).median / (bandwidth(self.peaks, threads) * 1e9)

    def cost_lines(self, pair: Pair) -> list[Line]:
        """Seconds to the first token and peak resident memory; lower is better."""
        lines = []
        for count in self.threads:
            for kind in (IN_CACHE, FROM_DISK, NO_PYTHON, IMPORT):
                ours, theirs = (side.starts[kind, count] for side in (pair.ours, pair.peer))
                if ours or theirs:
                    lines.append(compare(kind, count, "s", ours, theirs))
            for name in (DEEP, CHAT):
                ours, theirs = (side.rss[name, count] for side in (pair.ours, pair.peer))
                if ours or theirs:
                    note = self._beyond(pair, ours) if name == DEEP and ours else ""
                    lines.append(compare(f"peak RSS, {name}", count, "MB", ours, theirs, note))
        return lines

    def _beyond(self, pair: Pair, rss: list[float]) -> str:
        assert pair.ours.footprint is not None
        case = next(case for case in pair.cases if case.name == DEEP)
        expected = pair.ours.footprint.disk + pair.kv_bytes * (case.depth + case.gen)
        return f"ours: weights, K and V + {Spread.of(rss).median - expected / 1e6:.0f} MB"

    def summary(self) -> str:
        """What was measured on what, and all ratios."""
        ratios = summary([entry for pair in self.pairs for entry in self._ratios(pair)])
        return f"{self._heading()}\n\n{ratios}"

    def headline(self) -> str:
        """The few ratios to the first peer that the README shows, and whether it was quiet."""
        first = self.pairs[0]
        names = first.ours.name, first.peer.name
        pairs = [pair for pair in self.pairs if (pair.ours.name, pair.peer.name) == names]
        ratios = [entry for pair in pairs for entry in self._ratios(pair)]
        shown = summary([entry for entry in ratios if entry[2].name in HEADLINE])
        return "\n\n".join(filter(None, [self._heading(), shown, self._not_quiet()]))

    def text(self) -> str:
        """What is printed: Markdown."""
        blocks = [self.summary(), self._peaks_text()]
        for pair in self.pairs:
            names = (pair.ours.name, pair.peer.name)
            title = f"### {pair.model}: {' / '.join(names)}"
            blocks.append(f"{title}\n\n{self._footprints(pair)}".rstrip())
            lines = self.rate_lines(pair)
            if lines:
                blocks.append(table("higher is better", lines, names, bool(pair.kv_bytes)))
            costs = self.cost_lines(pair)
            if costs:
                blocks.append(table("lower is better", costs, names, with_bandwidth=False))
        return "\n\n".join(filter(None, [*blocks, self._not_quiet()]))

    def _not_quiet(self) -> str:
        seen = self.quiet.disturbance
        disturbed = sum(others > BUSY_LIMIT for others in seen)
        if not disturbed:
            return ""
        return (
            f"NOT QUIET: during {disturbed} of {len(seen)} measurements other programs kept "
            f"up to {max(seen):.1f} cores busy. End them and measure again."
        )

    def _ratios(self, pair: Pair) -> list[tuple[str, str, Line]]:
        sides = f"{pair.ours.name} / {pair.peer.name}"
        faster = [(f"{line.name} ({sides})", pair.model, line) for line in self.rate_lines(pair)]
        return faster + [
            (f"{line.name} ({sides}, lower is better)", pair.model, line)
            for line in self.cost_lines(pair)
        ]

    def _heading(self) -> str:
        start = self.machine
        changed = " with changes" if start["modified"] else ""
        versions = "".join(f", {name} {version}" for name, version in self.versions.items())
        return (
            f"{start['processor']}, {start['cores']} cores, {start['compiler']}, "
            f"commit {start['commit']}{changed}{versions}. {self.rounds} interleaved rounds, "
            "median (smallest..largest)."
        )

    def _footprints(self, pair: Pair) -> str:
        lines = []
        for side in (pair.ours, pair.peer):
            if side.footprint is not None and pair.kv_bytes:
                found = side.footprint
                lines.append(
                    f"- {side.name}: {found.weights / 1e6:.1f} MB of weights a token "
                    f"({found.types}), {found.disk / 1e6:.1f} MB on disk"
                )
        if pair.kv_bytes:
            lines.append(f"- K and V: {pair.kv_bytes / 1e3:.1f} kB a token of context")
        return "\n".join(lines)

    def _peaks_text(self) -> str:
        lines = ["| peaks of the machine | |", "|---|---|"]
        lines += [f"| {name} | {Spread.of(v).show(1)} |" for name, v in self.peaks.items()]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values, every sample included."""
        return {
            "machine": self.machine,
            "versions": self.versions,
            "rounds": self.rounds,
            "cores_busy_with_others": [round(others, 3) for others in self.quiet.disturbance],
            "peaks": self.peaks,
            "pairs": [
                {
                    "model": pair.model,
                    "kv_bytes_per_token": pair.kv_bytes,
                    "lines": [
                        asdict(line) for line in self.rate_lines(pair) + self.cost_lines(pair)
                    ],
                    "ours": _samples(pair.ours),
                    "peer": _samples(pair.peer),
                }
                for pair in self.pairs
            ],
        }


def _samples(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "footprint": asdict(side.footprint) if side.footprint else None,
        "tokens_per_second": {", ".join(map(str, key)): v for key, v in side.rates.items()},
        "peak_rss_mb": {", ".join(map(str, key)): v for key, v in side.rss.items()},
        "start_seconds": {", ".join(map(str, key)): v for key, v in side.starts.items()},
    }
