"""A model of how long steps take on machines that are not here, and the pacer that they drive.

A step is a list of products. Each thread has its share of a product's tiles, and takes over what
others are behind with as the native core does; a tile takes as long as its core's arithmetic or the
memory needs, whichever is slower; a barrier follows. A core that another program has part of stands
still from time to time: who waits for it, waits on.
"""

from __future__ import annotations

import ctypes
import heapq
import math
import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SOURCE = """
#include "pacer.h"
extern "C" {
void* make(int threads) { return new cactus::Pacer(threads); }
void destroy(void* pacer) { delete static_cast<cactus::Pacer*>(pacer); }
int next(void* pacer, unsigned rows) { return static_cast<cactus::Pacer*>(pacer)->next(rows); }
void record(void* pacer, int threads, unsigned rows, double seconds, double waited) {
  static_cast<cactus::Pacer*>(pacer)->record(threads, rows, seconds, waited);
}
}
"""


SPEED = 30e9
"""Operations a second of a core in the machines of the tests."""

ALONE = 3.4e-6
"""Seconds of a norm, an activation, or a token's attention after little, in a step of one token."""


@dataclass(frozen=True)
class Product:
    """Tiles of one product, and of each its bytes of weights and its operations."""

    tiles: int
    bytes: float
    operations: float


@dataclass(frozen=True)
class Machine:
    """Cores in the order in which threads take them: operations and bytes a second of each."""

    speeds: tuple[float, ...]
    core_bytes: float
    all_bytes: float
    barrier: Callable[[int], float]
    """Seconds of a barrier of so many threads."""


def barrier(threads: int) -> float:
    """Seconds of a barrier of so many threads, and until all read memory at full speed again."""
    return 1.5e-6 + 1e-6 * math.log2(threads)


@dataclass(frozen=True)
class Stolen:
    """Another program has ``share`` of a core, in turns of ``slice`` seconds of its own."""

    core: int
    share: float = 0.5
    slice: float = 0.003

    def wait(self, now: float) -> float:
        """Seconds until the core is ours."""
        at = now % (self.slice / self.share)
        return self.slice - at if at < self.slice else 0.0


def product_seconds(product: Product, machine: Machine, threads: int) -> tuple[float, float]:
    """How long all threads need for it, and the longest that one of them waits."""
    rate = min(machine.core_bytes, machine.all_bytes / threads)
    tile = [max(product.bytes / rate, product.operations / s) for s in machine.speeds[:threads]]
    bounds = [product.tiles * t // threads for t in range(threads + 1)]
    left = [b - a for a, b in pairwise(bounds)]
    shares = list(left)
    done = [0.0] * threads
    queue = [(0.0, t) for t in range(threads)]
    while queue:
        now, t = heapq.heappop(queue)
        done[t] = now
        for victim in (t, *((t + d) % threads for d in distances(threads))):
            if left[victim] == 0:
                continue
            whole = shares[victim]
            first = victim == t and left[t] == whole
            taken = min(left[victim], -(-whole // (4 if first else 16)) * 2)
            left[victim] -= taken
            heapq.heappush(queue, (now + taken * tile[t], t))
            break
    return max(done), max(done) - min(done)


def distances(threads: int) -> list[int]:
    """Whose shares a thread looks at, as in the native core."""
    far = [d for k in range(1, 10) if (d := threads >> k) > 3]
    return [d for d in (*far, 3, 2, 1) if d < threads]


@dataclass
class Steps:
    """The steps of a model on a machine."""

    products: dict[Product, int]
    """How many of each there are."""
    machine: Machine
    stolen: tuple[Stolen, ...] = ()
    rows: int = 1
    noise: float = 0.02
    now: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    _known: dict[int, list[tuple[float, float, int]]] = field(default_factory=dict)

    @cached_property
    def threads(self) -> int:
        return len(self.machine.speeds)

    def parts(self, threads: int) -> list[tuple[float, float, int]]:
        """Seconds and longest wait of each kind of product with its barrier, and how many."""
        if threads not in self._known:
            barrier = self.machine.barrier(threads) if threads > 1 else 0.0
            found = []
            for product, count in self.products.items():
                seconds, waits = product_seconds(product, self.machine, threads)
                found.append((seconds + barrier, waits, count))
            self._known[threads] = found
        return self._known[threads]

    def run(self, threads: int) -> tuple[float, float]:
        """One step: its seconds, and those that a thread waited beyond some microseconds."""
        begin, waited = self.now, 0.0
        factor = math.exp(self.chance.gauss(0, self.noise))
        held = [s for s in self.stolen if s.core < threads]
        for seconds, waits, count in self.parts(threads):
            if waits > 1e-5:
                waited += waits * count
            if not held:
                self.now += seconds * count * factor
                continue
            for _ in range(count):
                self.now += seconds * factor
                wait = max(s.wait(self.now) for s in held)
                self.now += wait
                waited += wait
        return self.now - begin, waited

    def mean(self, threads: int, steps: int = 400) -> float:
        """Seconds of a step with always so many threads."""
        begin = self.now
        for _ in range(steps):
            self.run(threads)
        return (self.now - begin) / steps

    def best(self) -> float:
        """The same with the best number of threads."""
        every = range(1, self.threads + 1)
        return min(self.mean(n, 400 if self.stolen else 20) for n in every)


class Pacer:
    """The native core's own, compiled into a library of its own."""

    def __init__(self, library: ctypes.CDLL, threads: int) -> None:
        self.library, self.pacer = library, library.make(threads)

    def next(self, rows: int = 1) -> int:
        """Threads of the next step."""
        return int(self.library.next(self.pacer, rows))

    def record(self, threads: int, rows: int, seconds: float, waited: float) -> None:
        """How long it took."""
        self.library.record(self.pacer, threads, rows, seconds, waited)

    def run(self, steps: Steps, count: int) -> list[int]:
        """Drives so many steps; the threads of each."""
        chosen = []
        for _ in range(count):
            threads = self.next(steps.rows)
            self.record(threads, steps.rows, *steps.run(threads))
            chosen.append(threads)
        return chosen

    def __del__(self) -> None:
        self.library.destroy(self.pacer)


def compiled(folder: Path) -> Callable[[int], Pacer]:
    """Compiles the pacer in ``folder``; AssertionError without a compiler."""
    compiler = shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    assert compiler, "a C++ compiler is needed: apt-get install g++"
    (folder / "main.cpp").write_text(SOURCE)
    sources = ["main.cpp", str(ROOT / "native/src/pacer.cpp")]
    options = ["-std=c++20", "-O1", "-Wall", "-Werror", "-shared", "-fPIC"]
    command = [compiler, *options, f"-I{ROOT / 'native/src'}", *sources, "-o", "pacer.so"]
    subprocess.run(command, check=True, cwd=folder)
    library = ctypes.CDLL(str(folder / "pacer.so"))
    library.make.restype = ctypes.c_void_p
    library.make.argtypes = [ctypes.c_int]
    library.destroy.argtypes = [ctypes.c_void_p]
    library.next.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    library.record.argtypes = [
        *(ctypes.c_void_p, ctypes.c_int, ctypes.c_uint),
        *(ctypes.c_double, ctypes.c_double),
    ]
    return lambda threads: Pacer(library, threads)


def decoding(hidden: int, inner: int, layers: int, vocab: int) -> dict[Product, int]:
    """The products of a step of one token, weights of 4 bits: as many operations as bytes."""
    bytes_ = 16 * 0.5625
    wide, deep = hidden * bytes_, inner * bytes_
    return {
        Product(hidden // 16 * 5 // 3, wide, 2 * wide): layers,
        Product(hidden // 16, wide, 2 * wide): layers,
        Product(2 * inner // 16, wide, 2 * wide): layers,
        Product(hidden // 16, deep, 2 * deep): layers,
        Product(vocab // 16, wide, 2 * wide): 1,
        Product(1, 0.0, ALONE * SPEED): 4 * layers,
    }


def reading(products: dict[Product, int], rows: int) -> dict[Product, int]:
    """The same for many tokens, whose rows are shared, too."""
    return {
        Product(p.tiles * 8, p.bytes / 8, p.operations * rows / 8): count
        for p, count in products.items()
    }
