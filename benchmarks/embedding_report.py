"""What embeddings.py found: medians, cosines, ratios round by round, and the tables of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
from report import Spread, markdown, thread_text
from rounds import Quiet

MINILM, NOMIC = "all-minilm-l6-v2", "nomic-embed-text-v1.5"
OURS = "ours"
REFERENCE = ("sentence-transformers", "f32")
SIDES = (
    (OURS, "FP16"),
    (OURS, "INT8"),
    ("openvino", "bf16"),
    ("openvino", "int8"),
    ("onnxruntime", "f32"),
    ("onnxruntime", "int8"),
    ("ctranslate2", "int8"),
    REFERENCE,
    ("sentence-transformers", "bf16"),
    ("llama.cpp", "F16"),
    ("llama.cpp", "Q8_0"),
)
"""Engine and type; CTranslate2 has no nomic-bert."""
GOOD_COSINE = 0.98
"""A peer below it is not one that INT8 is compared with."""
SideKey = tuple[str, str]
Key = tuple[str, int]
"""Case, threads."""


@dataclass(frozen=True)
class Case:
    """Texts for a model, and how often a child embeds them."""

    name: str
    model: str
    count: int
    tokens: int
    repeats: int


CASES = {
    "short": Case("one short text", MINILM, 1, 12, 50),
    "batch": Case("256 texts of 128 tokens", MINILM, 256, 128, 1),
    "long": Case("one text of 2,000 tokens", NOMIC, 1, 2000, 3),
}


@dataclass
class Found:
    """What all rounds measured."""

    seconds: dict[SideKey, dict[Key, list[float]]] = field(default_factory=lambda: _nested())
    cpu: dict[SideKey, dict[Key, list[float]]] = field(default_factory=lambda: _nested())
    memory: dict[SideKey, dict[Key, list[float]]] = field(default_factory=lambda: _nested())
    vectors: dict[SideKey, dict[Key, Any]] = field(default_factory=lambda: defaultdict(dict))
    batches: dict[SideKey, dict[Key, list[int]]] = field(default_factory=lambda: defaultdict(dict))
    versions: dict[str, str] = field(default_factory=dict)
    failed: dict[SideKey, dict[Key, str]] = field(default_factory=lambda: defaultdict(dict))

    def cosine(self, side: SideKey, key: Key) -> tuple[float, float] | None:
        """Mean and smallest cosine to the reference."""
        reference = self.vectors[REFERENCE].get(key)
        mine = self.vectors[side].get(key)
        if reference is None or mine is None:
            return None
        both = (_unit(reference) * _unit(mine)).sum(1)
        return float(both.mean()), float(both.min())

    def ratio(self, theirs: SideKey, ours: SideKey, key: Key, cpu: bool) -> float | None:
        """Their time over ours, round by round, the median."""
        times = self.cpu if cpu else self.seconds
        pairs = zip(times[theirs][key], times[ours][key], strict=False)
        ratios = [a / b for a, b in pairs]
        return median(ratios) if ratios else None


def _nested() -> dict[Any, Any]:
    return defaultdict(lambda: defaultdict(list))


def _unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)


def text(found: Found, case: Case, threads: Sequence[int], cpu: bool) -> str:
    """A table of one case, and below it the ratios."""
    head = [case.model, *(f"{thread_text(n)}, {_unit_of(case)}" for n in threads)]
    rows = [[*head, "peak memory, MB", "cosine to f32: mean, smallest"]]
    for side in SIDES:
        if not any(found.seconds[side][case.name, n] for n in threads):
            if side in found.failed:
                rows.append([" ".join(side), "ends with an error", *[""] * (len(head) - 2), "", ""])
            continue
        row = [" ".join(side)]
        for count in threads:
            values = (found.cpu if cpu else found.seconds)[side][case.name, count]
            row.append(_show(values, case))
        memory = [value for n in threads for value in found.memory[side][case.name, n]]
        cosine = next(filter(None, (found.cosine(side, (case.name, n)) for n in threads)), None)
        row.append(f"{median(memory):,.0f}")
        row.append(f"{cosine[0]:.5f}, {cosine[1]:.4f}" if cosine else "")
        rows.append(row)
    title = f"### {case.name}" + (" (processor time)" if cpu else "")
    return "\n".join([title, "", markdown(rows), "", *ratios(found, case, threads, cpu)])


def ratios(found: Found, case: Case, threads: Sequence[int], cpu: bool) -> list[str]:
    """FP16 against OpenVINO in bf16, INT8 against the fastest that is right enough, and memory."""
    lines = []
    for count in threads:
        key = (case.name, count)
        if ratio := found.ratio(("openvino", "bf16"), (OURS, "FP16"), key, cpu):
            lines.append(f"- {thread_text(count)}: FP16 {ratio:.2f}x OpenVINO bf16")
        rivals = {
            side: ratio
            for side in SIDES
            if side[0] != OURS and (found.cosine(side, key) or (0, 0))[0] > GOOD_COSINE
            if (ratio := found.ratio(side, (OURS, "INT8"), key, cpu))
        }
        if rivals:
            side = min(rivals, key=lambda side: rivals[side])
            lines.append(f"- {thread_text(count)}: INT8 {rivals[side]:.2f}x {' '.join(side)}")
    keys = [(case.name, count) for count in threads]
    memory = {
        side: max(value for key in keys for value in found.memory[side][key])
        for side in SIDES
        if any(found.memory[side][key] for key in keys)
    }
    theirs = {side: value for side, value in memory.items() if side[0] != OURS}
    mine = {side: value for side, value in memory.items() if side[0] == OURS}
    if mine and theirs:
        least = min(theirs, key=lambda side: theirs[side])
        held = ", ".join(f"{side[1]} {value:.0f} MB" for side, value in mine.items())
        lines.append(f"- memory: {held}; least of the others: {theirs[least]:.0f} MB, {least[0]}")
    return lines


def _unit_of(case: Case) -> str:
    return "texts/s" if case.count > 1 else "ms"


def _show(values: Sequence[float], case: Case) -> str:
    if not values:
        return ""
    spread = Spread.of([case.count / v if case.count > 1 else v * 1000 for v in values])
    return spread.show(0 if case.count > 1 or spread.low >= 100 else 2)


def plain(start: dict[str, object], found: Found, quiet: Quiet) -> dict[str, Any]:
    """Every sample, for a file."""
    keys = {key for each in found.seconds.values() for key in each}
    return {
        "machine": start,
        "versions": found.versions,
        "cores_busy_with_others": [round(others, 3) for others in quiet.disturbance],
        "samples": [
            {
                "case": key[0],
                "threads": key[1],
                "side": " ".join(side),
                "seconds": found.seconds[side][key],
                "cpu_seconds": found.cpu[side][key],
                "peak_rss_mb": found.memory[side][key],
                "batch": found.batches[side].get(key),
                "cosine": found.cosine(side, key),
            }
            for side in SIDES
            for key in sorted(keys)
            if found.seconds[side][key]
        ],
        "failed": [
            {"case": key[0], "threads": key[1], "side": " ".join(side), "error": error}
            for side in SIDES
            for key, error in found.failed[side].items()
        ],
    }
