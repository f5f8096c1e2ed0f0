"""Compare how soon a model answers about a picture with other engines, on this machine.

    python benchmarks/vision.py                       everything
    python benchmarks/vision.py --size 512x512 --peer transformers --threads 1

From a file with a picture to the first token of the answer: decoding, resizing, tiling, the tower,
the projector and the prompt's tokens count, loading the model does not. LFM2-VL-450M with random
weights, the same for all: speed and memory do not depend on their values. Each engine looks at
pictures that differ, one after the other, and the first one is not counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import vision_models
from peaks import AMX_BF16, of_tower
from peaks import measure as measure_peaks
from report import Spread, markdown, publish, thread_text
from rounds import BUSY_LIMIT, Quiet, add_rounds
from runner import (
    REPOSITORY,
    BenchmarkError,
    Command,
    Progress,
    finish,
    machine,
    place,
    run_child,
)
from vision_child import Job
from vision_models import LLAMA_CPP, OURS, SIDES, Prepared, SideKey

from cactus.native import available_isas

HERE = Path(__file__).resolve().parent
SIZES = {"256x256": 3, "512x512": 3, "1920x1080": 1}
"""Width and height, and how many pictures are counted in a child."""
TOWER_FLOP = {"256x256": 46e9, "512x512": 213e9, "1920x1080": 8 * 213e9 + 209e9}
"""What the tower multiplies and adds, attention included: twelve layers of 768 columns over 256
patches, 1,024, and eight tiles with a thumbnail of 1,008."""
TOWER_ISA = AMX_BF16 if AMX_BF16 in available_isas() else ""
"""The tier that a tower asks for, where this CPU has it."""
_PRODUCTS = "bf16 products" if TOWER_ISA else "int8 dots"
Key = tuple[str, int]
"""Size, threads."""


@dataclass
class Found:
    """What all rounds measured."""

    seconds: dict[SideKey, dict[Key, list[float]]] = field(default_factory=lambda: _nested())
    cpu: dict[SideKey, dict[Key, list[float]]] = field(default_factory=lambda: _nested())
    tower: dict[SideKey, dict[Key, list[float]]] = field(default_factory=lambda: _nested())
    memory: dict[SideKey, dict[Key, list[float]]] = field(default_factory=lambda: _nested())
    tokens: dict[SideKey, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    versions: dict[str, str] = field(default_factory=dict)
    peaks: dict[int, float] = field(default_factory=dict)

    def ratio(self, theirs: SideKey, ours: SideKey, key: Key, cpu: bool) -> float | None:
        """Their time over ours, round by round, the median."""
        times = self.cpu if cpu else self.seconds
        ratios = [a / b for a, b in zip(times[theirs][key], times[ours][key], strict=False)]
        return median(ratios) if ratios else None


def _nested() -> dict[Any, Any]:
    return defaultdict(lambda: defaultdict(list))


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    engines = list(dict.fromkeys(engine for engine, _ in SIDES))
    add("--size", action="append", choices=list(SIZES), help="only these sizes")
    add("--peer", action="append", choices=engines, help="only these engines")
    add_rounds(parser)
    add("--cpu", action="store_true", help="ratios of processor time, for one thread when busy")
    add("--publish", action="store_true", help="put the tables into docs/vision-performance.md")
    add("--prepare", action="store_true", help="only make what is needed")
    return parser.parse_args()


def run(given: argparse.Namespace, progress: Progress) -> None:
    """Prepare, measure, print."""
    start = machine()
    sides = [side for side in SIDES if not given.peer or side[0] in given.peer]
    sizes, counts = given.size or list(SIZES), [int(n) for n in given.threads.split(",")]
    prepared = vision_models.prepare(sides, progress)
    if given.prepare:
        return
    found, quiet = Found(), Quiet(given.retries)
    todo = [(size, count, side) for size in sizes for count in counts for side in sides]
    progress.total = len(todo) * given.rounds
    with tempfile.TemporaryDirectory() as folder:
        pictures = {size: draw(Path(folder), size, SIZES[size] + 1) for size in sizes}
        for count in counts:
            peak = quiet.measure(lambda count=count: measure_peaks(count, 1 << 20), lambda it: it)
            dots = json.loads(peak.stdout)["int8_per_second"]
            found.peaks[count] = of_tower(dots, TOWER_ISA)
        for number in range(given.rounds):
            for size, count, side in todo if number % 2 == 0 else todo[::-1]:
                label = f"{size}, {thread_text(count)}, {' '.join(side)}"
                progress.step(f"round {number + 1}: {label}")
                _sample(found, quiet, prepared, size, pictures[size], count, side, Path(folder))
    progress.close()
    parts = [_heading(start, found, quiet)]
    parts += [table(found, size, counts, sides, given.cpu) for size in sizes]
    shown = "\n\n".join(parts)
    print(shown)
    if given.publish:
        publish(REPOSITORY / "docs" / "vision-performance.md", shown, "vision.py")
    if given.json:
        given.json.write_text(json.dumps(_plain(start, found, quiet), indent=1) + "\n")


def draw(folder: Path, size: str, count: int) -> list[str]:
    """Pictures of soft colours as PNG files, no two alike."""
    from PIL import Image

    width, height = (int(side) for side in size.split("x"))
    random, paths = np.random.default_rng(0), []
    for number in range(count):
        coarse = random.integers(0, 256, (height // 32, width // 32, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        paths.append(str(folder / f"{size}-{number}.png"))
        picture.save(paths[-1])
    return paths


def _sample(
    found: Found,
    quiet: Quiet,
    prepared: Prepared,
    size: str,
    pictures: list[str],
    threads: int,
    side: SideKey,
    folder: Path,
) -> None:
    """One child process, added to what was found."""
    model, tower = prepared.models[side]
    job = Job(*side, str(model), threads, pictures, str(tower or ""))
    path = folder / "job.json"
    path.write_text(json.dumps(asdict(job)), "utf-8")
    command, env = _command(prepared, side[0], path, threads)
    child = quiet.measure(lambda: run_child(command, env), lambda child: child)
    result = json.loads(child.stdout.splitlines()[-1])
    key = (size, threads)
    found.seconds[side][key].append(result["seconds"])
    found.cpu[side][key].append(result["cpu_seconds"])
    found.tower[side][key].append(result["tower_seconds"])
    found.memory[side][key].append(child.peak_rss / 1e6)
    found.tokens[side][size] = result["tokens"]
    found.versions |= result["versions"]


def _command(
    prepared: Prepared, engine: str, job: Path, threads: int
) -> tuple[Command, dict[str, str]]:
    env = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    if engine == OURS:
        return [sys.executable, HERE / "vision_ours.py", job], env
    if engine != LLAMA_CPP:
        return [prepared.python, HERE / "vision_peer.py", job], env
    llama = prepared.llama_cpp
    libraries = str(llama.binaries)
    env |= {"LLAMA_CPP_LIB_PATH": libraries, "MTMD_CPP_LIB": libraries}
    env |= {"PYTHONPATH": str(llama.source)}
    return [llama.python, HERE / "vision_peer.py", job], env


def _heading(start: dict[str, object], found: Found, quiet: Quiet) -> str:
    """What was measured on what, and whether it was quiet."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(found.versions.items()))
    disturbed = sum(others > BUSY_LIMIT for others in quiet.disturbance)
    peaks = ", ".join(
        f"{thread_text(count)} {peak / 1e12:.2f}" for count, peak in found.peaks.items()
    )
    return (
        f"{place(start)}; {versions}. Peak of {_PRODUCTS}, in 10^12 operations/s: {peaks}. "
        f"{disturbed} of {len(quiet.disturbance)} measurements were disturbed: others kept up to "
        f"{max(quiet.disturbance):.2f} cores busy."
    )


def table(
    found: Found, size: str, counts: Sequence[int], sides: Sequence[SideKey], cpu: bool
) -> str:
    """The table of one size, and below it the ratios."""
    head = [size, *(f"{thread_text(n)}, s" for n in counts)]
    head += [*(f"of it the tower, {thread_text(n)}" for n in counts), "tokens", "peak memory, MB"]
    rows = [head]
    for side in sides:
        times = [(found.cpu if cpu else found.seconds)[side][size, n] for n in counts]
        towers = [median(found.tower[side][size, n]) for n in counts]
        memory = max(value for n in counts for value in found.memory[side][size, n])
        row = [" ".join(side), *(Spread.of(values).show(2) for values in times)]
        row += [f"{seconds:.2f}" if seconds else "" for seconds in towers]
        rows.append([*row, f"{found.tokens[side][size]:,}", f"{memory:,.0f}"])
    title = f"### {size}" + (" (processor time)" if cpu else "")
    return "\n".join([title, "", markdown(rows), "", *ratios(found, size, counts, sides, cpu)])


def ratios(
    found: Found, size: str, counts: Sequence[int], sides: Sequence[SideKey], cpu: bool
) -> list[str]:
    """Each of ours against the fastest other, memory, and the tower's share of the peak."""
    lines = []
    others = [side for side in sides if side[0] != OURS]
    for mine in (side for side in sides if side[0] == OURS):
        for n in counts:
            key = (size, n)
            rivals = {
                side: ratio for side in others if (ratio := found.ratio(side, mine, key, cpu))
            }
            if rivals:
                least = min(rivals, key=lambda side: rivals[side])
                name = " ".join(least)
                lines.append(f"- {mine[1]}, {thread_text(n)}: {rivals[least]:.2f}x {name}")
            if seconds := median(found.tower[mine][key]):
                rate = TOWER_FLOP[size] / seconds
                lines.append(
                    f"- {mine[1]}, {thread_text(n)}: the tower {rate / 1e9:,.0f} GFLOP/s, "
                    f"{rate / found.peaks[n]:.0%} of the peak of {_PRODUCTS}"
                )
    return lines


def _plain(start: dict[str, object], found: Found, quiet: Quiet) -> dict[str, Any]:
    """Every sample, for a file."""
    samples = [
        {
            "engine": side[0],
            "type": side[1],
            "size": key[0],
            "threads": key[1],
            "seconds": values,
            "cpu_seconds": found.cpu[side][key],
            "tower_seconds": found.tower[side][key],
            "peak_memory_mb": found.memory[side][key],
            "tokens": found.tokens[side][key[0]],
        }
        for side, keys in found.seconds.items()
        for key, values in keys.items()
    ]
    return {
        "machine": start,
        "versions": found.versions,
        "tower_peak": found.peaks,
        "cores_busy_with_others": [round(others, 3) for others in quiet.disturbance],
        "samples": samples,
    }


def main() -> int:
    """Run it; errors go to standard error."""
    given, progress = arguments(), Progress()
    try:
        return finish("vision", lambda: run(given, progress), progress)
    except BenchmarkError as error:
        print(f"vision: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
