"""What the caller's thread does with tiny floats has no part in a step."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cactus.native import Row
from tests.models import golden
from tests.native import programs

# Flush to zero and treat denormals as zeros, and the rounding up.
SOURCE = """
#if defined(__x86_64__)
#include <immintrin.h>
unsigned long get(void) { return _mm_getcsr(); }
void set(unsigned long mode) { _mm_setcsr((unsigned)mode); }
unsigned long odd(void) { return 0x1F80 | 0x8040 | 0x4000; }
#else
unsigned long get(void) { unsigned long m; __asm__ volatile("mrs %0, fpcr" : "=r"(m)); return m; }
void set(unsigned long m) { __asm__ volatile("msr fpcr, %0" : : "r"(m)); }
unsigned long odd(void) { return 1ul << 24 | 1ul << 22; }
#endif
"""


@pytest.fixture
def modes(tmp_path: Path) -> ctypes.CDLL:
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    assert compiler, "a C compiler is needed: apt-get install g++"
    (tmp_path / "modes.c").write_text(SOURCE)
    command = [compiler, "-shared", "-fPIC", "modes.c", "-o", "modes.so"]
    subprocess.run(command, check=True, cwd=tmp_path)
    library = ctypes.CDLL(str(tmp_path / "modes.so"))
    library.get.restype = library.odd.restype = ctypes.c_ulong
    library.set.argtypes = [ctypes.c_ulong]
    library.set.restype = None
    return library


@pytest.mark.fault("F57")
@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64", "aarch64", "arm64"),
    reason="the mode is another one on other processors",
)
def test_the_callers_float_mode_changes_no_bit(modes: ctypes.CDLL, tmp_path: Path) -> None:
    checkpoint = golden.load("llama")
    tensors = {name: value.copy() for name, value in checkpoint.tensors.items()}
    tensors["model.norm.weight"] *= np.float32(1e-38)
    graph = programs.fused(checkpoint.graph, "f32")
    packed = programs.store(graph, tensors, tmp_path / "weights", "f32")

    def logits(threads: int, mode: int) -> np.ndarray:
        usual = modes.get()
        modes.set(mode)
        try:
            # The team's threads are made under the caller's mode, too.
            with programs.load(graph, packed, threads=threads) as program:
                rows = [Row(program.session(), [1, 2, 3], "all")]
                outputs = program.step(rows, want_logits=True)
                assert modes.get() & ~0x3F == mode & ~0x3F, "the caller's mode is its own"
        finally:
            modes.set(usual)
        return programs.logits_of(outputs)

    want = logits(1, modes.get())
    subnormal = (want != 0) & (np.abs(want) < np.finfo(np.float32).tiny)
    assert subnormal.any()
    for threads in (1, 2):
        np.testing.assert_array_equal(logits(threads, modes.odd()), want)
