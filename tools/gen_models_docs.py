"""Writes the tables of docs/models.md, between its two markers.

python tools/gen_models_docs.py          write
python tools/gen_models_docs.py --check  exit 1 when the page is out of date

Sizes are computed from the published configurations with the converter's own rules; speed and peak
memory are what benchmarks/results/*.json has, the newest file for each model.
"""

from __future__ import annotations

import importlib
import json
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from generated import finish_part
from published_models import PUBLISHED, Published, find
from published_vision import VISION

from cactus.models.abilities import ABILITIES
from cactus.models.base import Architecture, load_architecture
from cactus.weights import catalog
from cactus.weights.format.layout import tile_nbytes
from cactus.weights.rounding.storage import choose_dtype
from cactus.weights.sources.gguf.families import FAMILIES
from cactus.weights.sources.gguf.mmproj import IMAGE_TOKENS
from cactus.weights.sources.source import SourceTensor

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "models.md"
RESULTS = ROOT / "benchmarks" / "results"
OURS, PEER = "ours", "llama.cpp"

PRECISIONS = ("INT4", "INT8", "FP16")
CONTEXT = 4096
MODELS = (*PUBLISHED, *VISION)
STARTER = "starter"
BUSY_LIMIT = 0.15
"""Cores of others from which a measurement counts as disturbed; as in benchmarks/rounds.py."""
PREFILL, DECODE, DEEP = "prefill 512", "decode", "decode at 1,024"


@dataclass(frozen=True)
class Sizes:
    """What a model takes, in bytes: weights by precision, and keys and values (int8) of a token."""

    weights: dict[str, int]
    position: int


def sizes_of(architecture: Architecture) -> Sizes:
    """Computed from shapes alone, as the converter would store a bf16 checkpoint."""
    weights = {name: sum(_stored(architecture, name)) for name in PRECISIONS}
    slots = [slot for slot in architecture.build().slots if slot.kind == "kv"]
    return Sizes(weights, sum(2 * slot.kv_heads * (slot.head_dim + 4) for slot in slots))


def _stored(architecture: Architecture, precision: str) -> Iterator[int]:
    for weight in architecture.weights:
        count = math.prod(weight.shape)
        tensor = SourceTensor(weight.name, "BF16", weight.shape, 2 * count, _no_rows)
        dtype = choose_dtype(tensor, precision)
        yield 4 * count if dtype == "plain" else tile_nbytes(dtype, *weight.shape)
    vision = getattr(architecture.config, "vision", None)
    if vision is not None:
        yield from (4 * math.prod(shape) for shape in vision.tables.values())


def _no_rows(start: int, stop: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    raise NotImplementedError("only the shape of this tensor is known")


def known() -> list[tuple[Published, Architecture]]:
    """The published models of the architectures that are there."""
    return [
        (model, load_architecture(model.config))
        for model in MODELS
        if model.config["model_type"] in ABILITIES
    ]


def families() -> str:
    """A row for each architecture."""
    rows = ["| `model_type` | | models | GGUF |", "|---|---|---|---|"]
    for kind in sorted(kind for kind, able in ABILITIES.items() if "chat" in able):
        module = importlib.import_module(f"cactus.models.{kind}")
        first = (module.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
        models = [model for model in MODELS if model.config["model_type"] == kind]
        names = ", ".join(_short(id) for model in models for id in (model.hub_id, *model.others))
        imported = "yes" if {kind, kind.removesuffix("_text")} & set(FAMILIES) else "no"
        imported = "yes, with its mmproj file" if kind in IMAGE_TOKENS else imported
        rows.append(f"| `{kind}` | {first.rstrip('.')} | {names} | {imported} |")
    return "\n".join(rows)


def sizes() -> str:
    """A row for each published model."""
    heads = ["model", "parameters", "context", *PRECISIONS, "K and V"]
    heads += [f"memory, {name}" for name in PRECISIONS[:2]]
    rows = [_row(heads), _row(["---", *["--:"] * (len(heads) - 1)])]
    for model, architecture in known():
        found = sizes_of(architecture)
        cache = found.position * CONTEXT
        cells = [model.hub_id, _count(model.parameters), f"{architecture.config.context_length:,}"]
        for name in PRECISIONS:
            bits = 8 * found.weights[name] / model.parameters
            cells.append(f"{_bytes(found.weights[name])} ({bits:.1f})")
        cells.append(f"{found.position / 1e3:,.0f} kB")
        cells += [_bytes(found.weights[name] + cache) for name in PRECISIONS[:2]]
        rows.append(_row(cells))
    return "\n".join(rows)


@dataclass(frozen=True)
class Measured:
    """One model's comparison of ours with its peers in a file of results."""

    contest: dict[str, Any]
    machine: dict[str, Any]
    disturbance: list[float]
    """Cores that other programs kept busy, one number for each measurement."""

    def not_quiet(self) -> str:
        """How many measurements other programs disturbed; empty if none."""
        seen = self.disturbance
        disturbed = sum(others > BUSY_LIMIT for others in seen)
        return f"{disturbed} of {len(seen)}, up to {max(seen):.1f} cores" if disturbed else ""

    def line(self, name: str, threads: int) -> dict[str, Any] | None:
        """What was measured under a name."""
        for line in self.contest["lines"]:
            if (line["name"], line["threads"]) == (name, threads):
                return dict(line)
        return None

    def rate(self, name: str, threads: int) -> str:
        """Ours in tokens/s, and as a multiple of the best peer's."""
        line = self.line(name, threads)
        if line is None:
            return ""
        ours, ratio = (line[key][OURS]["median"] for key in ("found", "ratios"))
        return f"{ours:,.0f} ({ratio:.2f}×)"


def newest() -> dict[str, Measured]:
    """For each model the newest comparison that has llama.cpp."""
    files = [json.loads(path.read_text("utf-8")) for path in RESULTS.glob("*.json")]
    found = {}
    for file in sorted(files, key=lambda file: file["machine"]["time"]):
        for contest in file["contests"]:
            sides = {side["name"] for side in contest["ours"] + contest["peers"]}
            if {OURS, PEER} <= sides:
                found[contest["model"]] = Measured(
                    contest, file["machine"], file["cores_busy_with_others"]
                )
    return found


def speed() -> str:
    """A row for each model that was measured."""
    heads = ["model", "file", "on disk", "threads", PREFILL, DECODE, DEEP, "peak memory"]
    rows = [_row(heads), _row(["---", "---", *["--:"] * (len(heads) - 2)])]
    machines, disturbed = set(), []
    for name, found in newest().items():
        machines.add(f"{found.machine['processor']}, {found.machine['cores']} cores")
        if found.not_quiet():
            disturbed.append(f"{_title(name)}: {found.not_quiet()}")
        footprint = found.contest["ours"][0]["footprint"]
        types = re.sub(r" \d+ MB", "", footprint["types"])
        for threads in (1, 2):
            rss = found.line(f"peak RSS, {DEEP}", threads)
            first = [_title(name), types, _bytes(footprint["disk"])] if threads == 1 else [""] * 3
            rates = [found.rate(case, threads) for case in (PREFILL, DECODE, DEEP)]
            rows.append(_row([*first, str(threads), *rates, _memory(rss)]))
    notes = [f"Tokens a second on: {'; '.join(sorted(machines))}."]
    if disturbed:
        notes.append(f"NOT QUIET: other programs disturbed measurements of {'; '.join(disturbed)}.")
    return "\n\n".join(["\n".join(rows), *notes])


def _title(name: str) -> str:
    return _short(catalog.STARTER.hub_id if name == STARTER else find(name).hub_id)


def _short(hub_id: str) -> str:
    return hub_id.rpartition("/")[2]


def _memory(line: dict[str, Any] | None) -> str:
    if line is None:
        return ""
    ours, theirs = (line["found"][side]["median"] for side in (OURS, PEER))
    return f"{ours:,.0f} MB ({theirs:,.0f} MB)"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _count(parameters: int) -> str:
    return f"{parameters / 1e6:,.0f} M" if parameters < 999.5e6 else f"{parameters / 1e9:.2f} B"


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"


def render() -> str:
    """The three tables, as Markdown."""
    return f"## Families\n\n{families()}\n\n## Size\n\n{sizes()}\n\n## Speed\n\n{speed()}\n"


def main() -> int:
    return finish_part(PAGE, render(), __file__)


if __name__ == "__main__":
    sys.exit(main())
