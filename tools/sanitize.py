"""Builds the native library with sanitizers and runs tests on it.

    python tools/sanitize.py address [pytest arguments]     AddressSanitizer and UBSan
    python tools/sanitize.py thread  [pytest arguments]     ThreadSanitizer
    python tools/sanitize.py thread tools/stress_threads.py --seconds 300

Needs g++ with its sanitizer runtimes, cmake and ninja. Default tests: tests/native. A script of
tools/ is run with its own arguments.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from other_core import ROOT, package_with, run_tests

KINDS = {
    "address": (
        "address,undefined",
        ("libasan.so", "libubsan.so"),
        # Python frees little at exit; leaks of handles are tested by counting memory.
        {
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=4",
            "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        },
    ),
    "thread": (
        "thread",
        ("libtsan.so",),
        # NumPy's OpenBLAS synchronises in ways that the sanitizer cannot see.
        {
            "TSAN_OPTIONS": f"halt_on_error=1:suppressions={ROOT / 'tools' / 'thread.supp'}",
            "OPENBLAS_NUM_THREADS": "1",
        },
    ),
}

# What a library that was compiled with a sanitizer calls.
RUNTIMES = {"address": b"__asan_init", "thread": b"__tsan_init"}


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in KINDS:
        print(__doc__)
        return 2
    flags, runtimes, options = KINDS[sys.argv[1]]
    build = ROOT / "build" / sys.argv[1]
    configure = ["cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja"]
    subprocess.run(
        [*configure, f"-DCACTUS_SANITIZE={flags}", "-DCMAKE_CXX_FLAGS=-Werror"], check=True
    )
    subprocess.run(["cmake", "--build", str(build)], check=True)
    found = [
        subprocess.check_output(["g++", f"-print-file-name={name}"], text=True).strip()
        for name in runtimes
    ]
    options = {**options, "LD_PRELOAD": " ".join(found)}
    environment = package_with(build, RUNTIMES[sys.argv[1]], options)
    if sys.argv[2:] and Path(sys.argv[2]).parent.name == "tools":
        return subprocess.run([sys.executable, *sys.argv[2:]], cwd=ROOT, env=environment).returncode
    # The libraries for arm64, by clang and with a model of AMX are others, without sanitizers.
    others = ("arm64", "test_clang.py", "test_amx_model.py")
    tests = sys.argv[2:] or ["tests/native", *(f"--ignore=tests/native/{each}" for each in others)]
    # A sanitizer takes more memory than some tests allow, and no threads after a fork.
    apart = "not (failed_allocations or memory_for or out_of_memory or do_not_grow or load_its_own)"
    return run_tests(environment, ["-k", apart, *tests])


if __name__ == "__main__":
    sys.exit(main())
