"""When a step is shared between the threads of a program, and when one does it alone."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A line for each step: its rows, seconds and the longest wait, when it is shared, and the seconds
# that one thread takes. Prints how many threads did it.
SOURCE = """
#include <cstdio>
#include "pacer.h"

int main() {
  cactus::Pacer pacer(2);
  unsigned rows;
  double shared, waited, alone;
  while (std::scanf("%u %lf %lf %lf", &rows, &shared, &waited, &alone) == 4) {
    const int threads = pacer.next();
    pacer.record(threads, rows, threads == 1 ? alone : shared, waited);
    std::printf("%d\\n", threads);
  }
}
"""

Step = tuple[int, float, float, float]
CALM: Step = (1, 0.005, 0.0005, 0.009)
HELD: Step = (1, 0.030, 0.025, 0.009)
"""Another program holds a core."""


@pytest.fixture(scope="module")
def threads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., list[int]]]:
    folder = tmp_path_factory.mktemp("pacer")
    compiler = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    assert compiler, "a C++ compiler is needed: apt-get install g++"
    (folder / "main.cpp").write_text(SOURCE)
    sources = ["main.cpp", str(ROOT / "native/src/pacer.cpp")]
    options = ["-std=c++20", "-Wall", "-Werror", f"-I{ROOT / 'native/src'}"]
    subprocess.run([compiler, *options, *sources, "-o", "pacer"], check=True, cwd=folder)

    def run(*steps: Step) -> list[int]:
        lines = "\n".join(" ".join(map(str, step)) for step in steps)
        done = subprocess.run(
            [folder / "pacer"], input=lines, capture_output=True, text=True, check=True, timeout=60
        )
        return [int(line) for line in done.stdout.split()]

    yield run


def test_one_disturbed_step_changes_nothing(threads: Callable[..., list[int]]) -> None:
    assert threads(CALM, HELD, *[CALM] * 20) == [2] * 22


def test_while_a_core_is_held_one_thread_works_alone(threads: Callable[..., list[int]]) -> None:
    counts = threads(CALM, *[HELD] * 1000)
    assert counts[:3] == [2, 2, 2]
    assert counts[3:19] == [1] * 16
    assert counts.count(2) < 12  # it is asked again, each time after longer


def test_steps_are_shared_as_soon_as_one_thread_is_slower(
    threads: Callable[..., list[int]],
) -> None:
    # Two disturbed steps and nothing after: the shared ones took 15 ms lately, and one takes 60.
    reading: Step = (9, 0.030, 0.001, 0.060)
    disturbed: Step = (9, 0.040, 0.020, 0.060)
    assert threads(reading, disturbed, disturbed, *[reading] * 5) == [2, 2, 2, 1, 2, 2, 2, 2]


def test_work_that_does_not_divide_evenly_is_shared(threads: Callable[..., list[int]]) -> None:
    # One thread always waits for half of the step, which still takes less than without it.
    uneven: Step = (1, 0.006, 0.003, 0.009)
    assert threads(*[uneven] * 100).count(1) <= 3


def test_steps_of_other_sizes_are_not_compared(threads: Callable[..., list[int]]) -> None:
    whole: Step = (256, 0.200, 0.010, 0.390)
    assert threads(*[whole] * 3, CALM, *[HELD] * 10)[5:] == [2] + [1] * 8
