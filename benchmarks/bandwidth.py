"""The machine's read bandwidth, by a small C++ loop compiled on the spot."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from runner import BenchmarkError, Progress, cache_folder, run_child, run_logged

SOURCE = Path(__file__).with_name("bandwidth.cpp")
LARGE_MEGABYTES = 1024


def build(progress: Progress) -> Path:
    """Compile bandwidth.cpp into the cache folder, once per version of the source."""
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        raise BenchmarkError("no C++ compiler found: install g++ (Debian: apt install g++)")
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    target = cache_folder() / f"bandwidth-{digest}"
    if not target.exists():
        part = target.with_suffix(".part")
        flags = ["-std=c++20", "-O3", "-march=native", "-pthread"]
        log = cache_folder() / "bandwidth.log"
        run_logged([compiler, *flags, SOURCE, "-o", part], log, progress, "compiling bandwidth.cpp")
        part.replace(target)
    return target


def measure(program: Path, threads: int, megabytes: int, seconds: float, huge: bool) -> float:
    """Median GB/s of reading a buffer of ``megabytes`` again and again for ``seconds``."""
    child = run_child([program, str(threads), str(megabytes), str(seconds), str(int(huge))])
    return float(json.loads(child.stdout)["median"])
