"""What each check of a step costs: the native library with it against one without it, in turns.

    python benchmarks/checks.py build                    compile one library without each check
    python benchmarks/checks.py measure MODEL [NAME...]  seconds of decoding and of prefill

A library without a check is the sources with a few lines taken out; `together` lacks all but the
one that the kernels have. Two processes have the model,
one for each library, and work one after the other; a figure is the median of the ratios of pairs,
with their quartiles. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "checks"
WHOLE, TOGETHER = "whole", "together"
STEP = "native/src/program_step.cpp"
HANDLES = "native/src/handles.h"

CHECKS: dict[str, tuple[tuple[str, str], ...]] = {
    "cut": ((STEP, "  mapping_->check_unchanged();\n"),),
    "stop": ((STEP, "    if (thread == 0) look_at_stop(n);\n"),),
    "tokens": ((STEP, "  check_batch(batch, n_outputs);\n"),),
    "floats": ((STEP, "  const StandardFloats floats;\n"),),
    "ids": (
        (
            HANDLES,
            "    check(found != objects_.end(), CACTUS_ERROR_HANDLE,\n"
            '          std::string("no such ") + noun_ + '
            '": it has been destroyed, or never was");\n',
        ),
    ),
    "forks": (
        (
            HANDLES,
            "    check(forks == fork_generation(), CACTUS_ERROR_FORKED,\n"
            '          "the model was loaded before fork(); load it again in this process");\n',
        ),
    ),
}
"""By name: the lines that make a check, and the files that they are in."""
CHECKS[TOGETHER] = tuple(part for parts in CHECKS.values() for part in parts)
CHECKS["finite"] = (("native/src/cpu/logits.inl", "    magnitude = fma(v, zero(), magnitude);\n"),)

CHILD = """
import random, sys, time
from cactus import Model
model = Model(sys.argv[1], threads=int(sys.argv[2]))
numbers = random.Random(1)
def prompt(count):
    return [numbers.randrange(300, 10_000) for _ in range(count)]
options = {"logit_bias": {id: -100 for id in model._engine.tokenizer.eos_ids}, "speculation": False}
for line in sys.stdin:
    model.reset()
    tokens, most = (prompt(16), 17) if line == "decode\\n" else (prompt(320), 1)
    begin = time.perf_counter()
    model.complete(tokens, max_tokens=most, **options)
    print(time.perf_counter() - begin, flush=True)
"""


def without(text: str, lines: str, where: str) -> str:
    """`text` without some lines that it has once."""
    if text.count(lines) != 1:
        raise SystemExit(f"{where} does not have once: {lines!r}")
    return text.replace(lines, "")


def build() -> None:
    """One library as it is, and one without each check: in one folder, so that little is made anew.

    The check that the kernels have comes last: all of them are compiled again without it.
    """
    sources, made = BUILD / WHOLE / "sources", BUILD / WHOLE / "made"
    for name in (WHOLE, *CHECKS):
        lines = CHECKS.get(name, ())
        for path in ("CMakeLists.txt", *(ROOT / "native").rglob("*")):
            place = (ROOT / path).relative_to(ROOT)
            if (ROOT / path).is_file():
                text = (ROOT / path).read_text("utf-8")
                for file, line in lines:
                    text = without(text, line, file) if file == str(place) else text
                replace(sources / place, text)
        if not (made / "build.ninja").exists():
            subprocess.run(["cmake", "-S", sources, "-B", made, "-G", "Ninja"], check=True)
        subprocess.run(["ninja", "-C", made, "cactus"], check=True)
        (BUILD / name).mkdir(exist_ok=True)
        shutil.copy(made / "libcactus.so", BUILD / name)


def replace(path: Path, text: str) -> None:
    """Write a file, unless it says that already."""
    if not path.exists() or path.read_text("utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


@contextmanager
def child(name: str, model: str, threads: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has the model and the library `name`."""
    sys.path.insert(0, str(ROOT / "tools"))
    from other_core import package_with

    command = [sys.executable, "-c", CHILD, model, str(threads)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=package_with(BUILD / name, b"cactus", {}),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def seconds(process: subprocess.Popen[str], work: str) -> float:
    """How long a process takes for a piece of work."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{work}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def measure(name: str, model: str, threads: int, duration: float) -> None:
    """Print what the check `name` costs."""
    with child(WHOLE, model, threads) as whole, child(name, model, threads) as less:
        found: dict[str, list[float]] = {"decode": [], "prefill": []}
        for work in found:
            seconds(whole, work), seconds(less, work)
        end = time.monotonic() + duration
        while time.monotonic() < end:
            for work, ratios in found.items():
                sides = [whole, less]
                random.shuffle(sides)
                took = {side.pid: seconds(side, work) for side in sides}
                ratios.append(took[whole.pid] / took[less.pid])
        for work, ratios in found.items():
            low, middle, high = (100 * (each - 1) for each in statistics.quantiles(ratios, n=4))
            print(f"{name:8} {work:8} {middle:+.2f} % ({low:+.2f} to {high:+.2f}), {len(ratios)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=["build", "measure"])
    parser.add_argument("model", nargs="?")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CHECKS)}; default: all of them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each check")
    given = parser.parse_args()
    if given.what == "build":
        build()
        return
    if given.model is None or not set(given.names) <= set(CHECKS):
        parser.error(f"measure wants a MODEL, and names of {', '.join(CHECKS)}")
    for name in given.names or CHECKS:
        measure(name, given.model, given.threads, given.seconds)


if __name__ == "__main__":
    main()
