"""From the samples of the rounds to lines, printed tables and JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import search
from cases import ALONE, CASES, DECODE, DEEP, Case
from report import Line, Spread, compare, summary, table
from rounds import (
    BUSY_LIMIT,
    CHAT,
    FROM_DISK,
    IMPORT,
    IN_CACHE,
    NO_PYTHON,
    Contest,
    Quiet,
    bandwidth,
)
from sides import Side

HEADLINE = ("prefill 512", "decode", DEEP, "8 together", IN_CACHE, f"peak RSS, {DEEP}")
"""The measurements that the README shows."""
Ratio = tuple[str, str, int, Spread]
"""Label, model, threads, ratio."""


@dataclass
class Results:
    """Everything that one run of the benchmark found."""

    machine: dict[str, object]
    versions: dict[str, str]
    contests: list[Contest]
    threads: list[int]
    rounds: int
    quiet: Quiet
    peaks: dict[str, list[float]] = field(default_factory=dict)

    def rate_lines(self, contest: Contest) -> list[Line]:
        """Tokens/s of every case; for decoding also the fraction of the read bandwidth."""
        lines = []
        for count in self.threads:
            for case in contest.cases:
                ours, peers = (
                    {side.name: side.rates.get((case.name, count), []) for side in sides}
                    for sides in (contest.ours, contest.peers)
                )
                line = compare(case.name, count, "tokens/s", ours, peers)
                if not line.found:
                    continue
                for side in contest.peers:
                    config = side.configuration(case.name)
                    if side.name == line.best and config:
                        line = replace(line, best=f"{side.name}: {search.text(config)}")
                lines.append(replace(line, of_bandwidth=self._of_bandwidth(contest, case, count)))
        return lines

    def _of_bandwidth(self, contest: Contest, case: Case, threads: int) -> dict[str, float]:
        """Of the read bandwidth, what one conversation's weights and context take; by side."""
        if not (case.gen and case.rows == 1 and contest.kv_bytes):
            return {}
        context = contest.kv_bytes * case.mean_context
        peak = bandwidth(self.peaks, threads) * 1e9
        return {
            side.name: (found.weights + side.kv_share * context) * Spread.of(rates).median / peak
            for side in contest.sides
            if (found := side.footprint_of(case)) and (rates := side.rates[case.name, threads])
        }

    def alone_ratios(self, contest: Contest) -> list[Ratio]:
        """What sampling costs each side, and what it gains from many conversations: its rate by
        that of one greedy conversation."""
        return [
            (f"{name} ({side.name} / its {DECODE})", contest.model, count, ratio)
            for name in ALONE
            for side in contest.sides
            for count in self.threads
            if (alone := side.rates.get((DECODE, count)))
            and (rates := side.rates.get((name, count)))
            and (ratio := Spread.of([a / b for a, b in zip(rates, alone, strict=True)]))
        ]

    def cost_lines(self, contest: Contest) -> list[Line]:
        """Seconds to the first token and peak resident memory; lower is better."""
        lines = []

        def add(kind: str, count: int, unit: str, values: str, name: str, note: str = "") -> None:
            ours, peers = (
                {side.name: getattr(side, values).get((kind, count), []) for side in sides}
                for sides in (contest.ours, contest.peers)
            )
            line = compare(name, count, unit, ours, peers, note)
            if line.found:
                lines.append(line)

        for count in self.threads:
            for kind in (IN_CACHE, FROM_DISK, NO_PYTHON, IMPORT):
                add(kind, count, "s", "starts", kind)
            add(DEEP, count, "MB", "rss", f"peak RSS, {DEEP}", self._beyond(contest, count))
            add(CHAT, count, "MB", "rss", f"peak RSS, {CHAT}")
        return lines

    def _beyond(self, contest: Contest, threads: int) -> str:
        first, case = contest.ours[0], next(case for case in CASES if case.name == DEEP)
        found, rss = first.footprint_of(case), first.rss.get((DEEP, threads))
        if not (found and rss):
            return ""
        expected = found.disk + first.kv_share * contest.kv_bytes * case.context
        return f"{first.name}: weights, K and V + {Spread.of(rss).median - expected / 1e6:.0f} MB"

    def summary(self) -> str:
        """What was measured on what, and all ratios."""
        ratios = [ratio for contest in self.contests for ratio in self._ratios(contest)]
        own = [ratio for contest in self.contests for ratio in self.alone_ratios(contest)]
        return "\n\n".join([self._heading(), summary(ratios), *([summary(own)] if own else [])])

    def headline(self) -> str:
        """The few ratios of the first sides that the README shows, and whether it was quiet."""
        first = self.contests[0]
        contests = [contest for contest in self.contests if _names(contest) == _names(first)]
        shown = [
            ratio
            for contest in contests
            for ratio in self._ratios(contest)
            if ratio[0].partition(" (")[0] in HEADLINE
        ]
        return "\n\n".join(filter(None, [self._heading(), summary(shown), self._not_quiet()]))

    def text(self) -> str:
        """What is printed: Markdown."""
        blocks = [self.summary(), self._peaks_text()]
        for contest in self.contests:
            ours, peers = _names(contest)
            title = f"### {contest.model}: {', '.join(ours)} / {', '.join(peers)}"
            blocks.append(f"{title}\n\n{self._footprints(contest)}".rstrip())
            lines = self.rate_lines(contest)
            if lines:
                blocks.append(table("higher is better", lines, ours, peers))
            costs = self.cost_lines(contest)
            if costs:
                met = [name for name in peers if any(name in line.found for line in costs)]
                blocks.append(table("lower is better", costs, ours, met))
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

    def _ratios(self, contest: Contest) -> list[Ratio]:
        """Of every line, each side of ours to the best peer."""
        _, peers = _names(contest)
        best = peers[0] if len(peers) == 1 else "best peer"
        return [
            (f"{line.name} ({side} / {best}{more})", contest.model, line.threads, ratio)
            for lines, more in (
                (self.rate_lines(contest), ""),
                (self.cost_lines(contest), ", lower is better"),
            )
            for line in lines
            for side, ratio in line.ratios.items()
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

    def _footprints(self, contest: Contest) -> str:
        lines = []
        decode = next(case for case in CASES if case.name == DECODE)
        for side in contest.sides:
            found = side.footprint_of(decode)
            if found and contest.kv_bytes:
                lines.append(
                    f"- {side.name}: {found.weights / 1e6:.1f} MB of weights a token "
                    f"({found.types}), {found.disk / 1e6:.1f} MB on disk"
                )
        if contest.kv_bytes:
            shares = {side.kv_share for side in contest.ours}
            lines.append(
                f"- K and V: {contest.kv_bytes / 1e3:.1f} kB a token of context in f16; "
                + ", ".join(f"ours {share * contest.kv_bytes / 1e3:.1f} kB" for share in shares)
            )
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
            "contests": [
                {
                    "model": contest.model,
                    "kv_bytes_per_token": contest.kv_bytes,
                    "lines": [
                        asdict(line) for line in self.rate_lines(contest) + self.cost_lines(contest)
                    ],
                    "ours": [_samples(side) for side in contest.ours],
                    "peers": [_samples(side) for side in contest.peers],
                }
                for contest in self.contests
            ],
        }


def _names(contest: Contest) -> tuple[list[str], list[str]]:
    return [side.name for side in contest.ours], [side.name for side in contest.peers]


def _samples(side: Side) -> dict[str, Any]:
    decode = next(case for case in CASES if case.name == DECODE)
    found = side.footprint_of(decode)
    return {
        "name": side.name,
        "footprint": asdict(found) if found else None,
        "configurations": {case: asdict(found) for case, found in side.found.items()},
        "tokens_per_second": {", ".join(map(str, key)): v for key, v in side.rates.items()},
        "peak_rss_mb": {", ".join(map(str, key)): v for key, v in side.rss.items()},
        "start_seconds": {", ".join(map(str, key)): v for key, v in side.starts.items()},
    }
