"""The core under clang: not a warning, and the tokens that GCC's has.

Without clang the room is skipped, unless the environment says CACTUS_TEST_CLANG=1, as .ci/run does.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.background import compile_core

ROOT = Path(__file__).resolve().parents[2]
COMPILER = "clang++"

SMOKE = """
import sys
from pathlib import Path
import cactus.native.library as library
library.library_path = lambda: Path(sys.argv[1])
from tests.models import golden
from tests.native import programs
from cactus.native import available_isas
for name, dtype in (("llama", "q4"), ("lfm2", "q8"), ("gemma3_text", "f16")):
    checkpoint = golden.load(name)
    graph = programs.fused(checkpoint.graph, dtype)
    store = programs.store(graph, checkpoint.tensors, Path(sys.argv[2]) / name, dtype)
    for isa in available_isas():
        with programs.load(graph, store, threads=2, isa=isa) as program:
            session = program.session()
            logits = programs.prefill(program, session, checkpoint.tokens, 16)
            print(name, isa, logits.tobytes().hex()[-4096:])
"""


COMPILE = compile_core("clang", "cactus", f"-DCMAKE_CXX_COMPILER={COMPILER}")
BACKGROUND = [COMPILE] if shutil.which(COMPILER) else []


@pytest.fixture(scope="module")
def clang_library() -> Path:
    """The library as clang compiles it, with every warning an error."""
    if shutil.which(COMPILER) is None:
        why = f"{COMPILER} is missing; install it with: apt-get install -y clang"
        if os.environ.get("CACTUS_TEST_CLANG") == "1":
            pytest.fail(f"CACTUS_TEST_CLANG=1, but {why}")
        pytest.skip(why)
    COMPILE.succeed()
    suffix = "dylib" if platform.system() == "Darwin" else "so"
    return ROOT / "build" / "clang" / f"libcactus.{suffix}"


def test_clang_compiles_the_core_and_its_bits_are_the_same(
    clang_library: Path, tmp_path: Path
) -> None:
    from cactus.native import library_path

    said = []
    for library in (library_path(), clang_library):
        folder = tmp_path / library.parent.name
        folder.mkdir()
        command = [sys.executable, "-c", SMOKE, str(library), str(folder)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0] == said[1] != ""
