"""From the samples of a comparison to its lines, its printed text and its JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from cases import DEEP, Case
from report import Line, Spread, compare, table
from rounds import (
    BUSY_LIMIT,
    CHAT,
    FROM_DISK,
    IN_CACHE,
    NO_PYTHON,
    OURS,
    PEER,
    Quiet,
    Side,
    best_bandwidth,
)


@dataclass
class Results:
    """Everything that one comparison found."""

    model: Path
    machine: dict[str, object]
    versions: dict[str, str]
    kv_bytes: int
    sides: dict[str, Side]
    cases: tuple[Case, ...]
    threads: list[int]
    rounds: int
    quiet: Quiet
    bandwidths: dict[str, list[float]] = field(default_factory=dict)

    def rate_lines(self) -> list[Line]:
        """Tokens/s of every case; for decoding also the fraction of the read bandwidth."""
        lines = []
        for count in self.threads:
            for case in self.cases:
                found = {name: side.best(case, count) for name, side in self.sides.items()}
                ours, _ = found.get(OURS, ([], ""))
                theirs, variant = found.get(PEER, ([], ""))
                note = f"its attention: flash {variant}" if variant in ("on", "off") else ""
                line = compare(case.name, count, "tokens/s", ours, theirs, note)
                if case.gen:
                    line = replace(
                        line,
                        ours_of_bandwidth=self._of_bandwidth(OURS, case, count),
                        theirs_of_bandwidth=self._of_bandwidth(PEER, case, count),
                    )
                lines.append(line)
        return lines

    def _of_bandwidth(self, name: str, case: Case, threads: int) -> float | None:
        if name not in self.sides:
            return None
        side = self.sides[name]
        per_token = side.footprint.weights + self.kv_bytes * case.mean_context
        rate = Spread.of(side.best(case, threads)[0]).median
        return per_token * rate / (best_bandwidth(self.bandwidths, threads) * 1e9)

    def cost_lines(self) -> list[Line]:
        """Seconds to the first token and peak resident memory; lower is better."""
        lines = []
        for count in self.threads:
            for kind in (IN_CACHE, FROM_DISK, NO_PYTHON):
                starts = {name: side.starts[kind, count] for name, side in self.sides.items()}
                if any(starts.values()):
                    ours, theirs = starts.get(OURS, []), starts.get(PEER, [])
                    lines.append(compare(f"start to first token, {kind}", count, "s", ours, theirs))
            for name in (DEEP, CHAT):
                rss = {key: side.rss[name, count] for key, side in self.sides.items()}
                if any(rss.values()):
                    ours, theirs = rss.get(OURS, []), rss.get(PEER, [])
                    lines.append(compare(f"peak RSS, {name}", count, "MB", ours, theirs))
        return lines

    def text(self) -> str:
        """What is printed."""
        blocks = [self._heading(), self._bandwidth_text()]
        blocks.append(table("higher is better", self.rate_lines(), with_bandwidth=True))
        costs = self.cost_lines()
        if costs:
            blocks.append(table("lower is better", costs, with_bandwidth=False))
        seen = self.quiet.disturbance
        disturbed = sum(others > BUSY_LIMIT for others in seen)
        if disturbed:
            blocks.append(
                f"NOT QUIET: during {disturbed} of {len(seen)} measurements other programs kept "
                f"up to {max(seen):.1f} cores busy. End them and measure again."
            )
        return "\n\n".join(blocks)

    def _heading(self) -> str:
        start = self.machine
        changed = " with changes" if start["modified"] else ""
        versions = "".join(f"; {name} {version}" for name, version in self.versions.items())
        lines = [
            f"{self.model.name}: {self.rounds} interleaved rounds, median (min..max)",
            f"{start['processor']}, {start['cores']} cores, {start['compiler']}",
            f"commit {start['commit']}{changed}{versions}",
            f"K and V: {self.kv_bytes / 1e3:.1f} kB a token of context",
        ]
        for name, side in self.sides.items():
            found = side.footprint
            lines.append(
                f"{name}: {found.weights / 1e6:.1f} MB of weights a token ({found.types}), "
                f"{found.disk / 1e6:.1f} MB on disk"
            )
        return "\n".join(lines)

    def _bandwidth_text(self) -> str:
        lines = ["read bandwidth, GB/s: median (min..max)"]
        for kind, samples in self.bandwidths.items():
            lines.append(f"  {kind:24} {Spread.of(samples).show(1)}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON values, every sample included."""
        return {
            "machine": self.machine,
            "versions": self.versions,
            "model": str(self.model),
            "rounds": self.rounds,
            "cores_busy_with_others": self.quiet.disturbance,
            "kv_bytes_per_token": self.kv_bytes,
            "footprint": {name: asdict(side.footprint) for name, side in self.sides.items()},
            "bandwidth_gb_per_s": self.bandwidths,
            "lines": [asdict(line) for line in self.rate_lines() + self.cost_lines()],
            "samples": {name: _samples(side) for name, side in self.sides.items()},
        }


def _samples(side: Side) -> dict[str, dict[str, list[float]]]:
    return {
        "tokens_per_second": {", ".join(map(str, key)): v for key, v in side.rates.items()},
        "peak_rss_mb": {", ".join(map(str, key)): v for key, v in side.rss.items()},
        "first_token_seconds": {", ".join(map(str, key)): v for key, v in side.starts.items()},
    }
