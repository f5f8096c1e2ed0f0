"""The C interface: used from C99, generated signatures, and nothing exported beside it."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cactus.native import _signatures as abi
from cactus.native import library_path
from tests.models import golden
from tests.native import programs

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "native/include"
CPU = ROOT / "native/src/cpu"


# What CMakeLists.txt compiles here, whether or not this very CPU can run it.
TIERS_OF = {
    "x86_64": ("avx2", "avxvnni", "avx512", "amx"),
    "amd64": ("avx2", "avxvnni", "avx512", "amx"),
    "aarch64": ("neon", "neon_i8mm"),
    "arm64": ("neon", "neon_i8mm"),
}
COMPILED_TIERS = ("scalar", *TIERS_OF.get(platform.machine().lower(), ()))


def compiler() -> str:
    found = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    assert found, "a C compiler is needed: apt-get install g++"
    return found


def test_the_library_exports_the_header_and_nothing_else() -> None:
    out = subprocess.check_output(["nm", "-D", "--defined-only", str(library_path())], text=True)
    exported = {line.split()[-1].split("@")[0] for line in out.splitlines()}
    assert exported == set(abi.FUNCTIONS)
    assert len(exported) <= 40


def test_generating_from_c(tmp_path: Path) -> None:
    checkpoint = golden.load("lfm2")
    graph = programs.fused(checkpoint.graph, "f32")
    packed = programs.store(graph, checkpoint.tensors, tmp_path / "weights")
    (tmp_path / "plan").write_bytes(programs.plan_of(graph, packed).blob)
    library, binary = library_path(), tmp_path / "generate"
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    subprocess.run(
        [compiler(), *strict, f"-I{HEADER}", str(Path(__file__).with_name("generate.c")),
         str(library), f"-Wl,-rpath,{library.parent}", "-o", str(binary)],
        check=True,
    )  # fmt: skip
    arguments = [str(n) for n in (len(checkpoint.greedy), *checkpoint.tokens)]
    command = [str(binary), str(tmp_path / "plan"), str(tmp_path / "weights"), *arguments]
    out = subprocess.run(command, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    assert [int(line) for line in out.stdout.split()] == checkpoint.greedy


EXAMPLE = """
#include <stdio.h>
#include "cactus.h"
static int run(const void* blob, size_t n, const int32_t* prompt, uint32_t n_prompt, int32_t eos) {
%s
  return out.token == eos ? 0 : 1;
}
int main(int argc, char** argv) {
  static char blob[1 << 20];
  const int32_t prompt[] = {%s};
  FILE* file = fopen("plan", "rb");
  return run(blob, fread(blob, 1, sizeof blob, file), prompt, %d, %d);
}
"""


def test_the_headers_example_is_a_program_that_works(tmp_path: Path) -> None:
    comment = (HEADER / "cactus.h").read_text().split("#ifndef", 1)[0]
    lines = [line[2:] for line in comment.splitlines() if line.startswith("//   ")]
    assert len(lines) > 10
    checkpoint = golden.load("lfm2")
    graph = programs.fused(checkpoint.graph, "f32")
    packed = programs.store(graph, checkpoint.tensors, tmp_path / "model.safetensors")
    (tmp_path / "plan").write_bytes(programs.plan_of(graph, packed).blob)
    tokens, eos = checkpoint.tokens, checkpoint.greedy[5]
    source = EXAMPLE % ("\n".join(lines), ", ".join(map(str, tokens)), len(tokens), eos)
    (tmp_path / "example.c").write_text(source)
    library = library_path()
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]
    subprocess.run(
        [compiler(), *strict, f"-I{HEADER}", "example.c", str(library),
         f"-Wl,-rpath,{library.parent}", "-o", "example"],
        check=True, cwd=tmp_path,
    )  # fmt: skip
    done = subprocess.run(["./example"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


# A machine of 2,000 processors, as sched_getaffinity tells of it.
MANY_CORES = """
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <string.h>
int sched_getaffinity(pid_t pid, size_t size, cpu_set_t* set) {
  (void)pid;
  if (size < 256) {
    errno = EINVAL;
    return -1;
  }
  memset(set, 0, size);
  for (int cpu = 0; cpu < 2000; cpu++) CPU_SET_S(cpu, size, set);
  return 0;
}
"""


@pytest.mark.skipif(platform.system() != "Linux", reason="a call of Linux")
def test_the_default_is_at_most_256_threads_on_any_machine(tmp_path: Path) -> None:
    checkpoint = golden.load("llama")
    packed = programs.store(checkpoint.graph, checkpoint.tensors, tmp_path / "weights")
    (tmp_path / "plan").write_bytes(programs.plan_of(checkpoint.graph, packed).blob)
    (tmp_path / "cores.c").write_text(MANY_CORES)
    command = [compiler(), "-shared", "-fPIC", "cores.c", "-o", "cores.so"]
    subprocess.run(command, check=True, cwd=tmp_path)
    code = (
        "from cactus.native import Program;"
        "print(Program(open('plan', 'rb').read(), 'weights').info.threads)"
    )
    environment = {**os.environ, "LD_PRELOAD": str(tmp_path / "cores.so")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == ("256", "")


@pytest.mark.fault("F57")
@pytest.mark.parametrize("tier", COMPILED_TIERS)
def test_kernel_objects_export_only_their_table(tier: str) -> None:
    """A function that others could link to might be the AVX-512 copy of a shared one."""
    compiled = next((ROOT / "build" / "python").rglob(f"kernels_{tier}.cpp.o"), None)
    assert compiled is not None, "the library is not built here; run: cactus build --python"
    out = subprocess.check_output(["nm", "-C", "--defined-only", str(compiled)], text=True)
    global_symbols = [line for line in out.splitlines() if line.split()[1].isupper()]
    assert [line.split(maxsplit=2)[2] for line in global_symbols] == [f"cactus::kernels_{tier}"]


def test_kernel_bodies_include_no_standard_library() -> None:
    allowed = {"<cstdint>", "<cstddef>", "<cstring>", "<immintrin.h>", "<arm_neon.h>"}
    headers = [*CPU.glob("simd_*.h"), *CPU.glob("lanes_*.h")]
    for path in [*CPU.glob("*.inl"), *headers, CPU / "kernels.h"]:
        assert set(re.findall(r"#include (<.*>)", path.read_text())) <= allowed, path.name


def test_only_the_platform_room_speaks_to_the_operating_system() -> None:
    """What a port would touch lies in one folder."""
    system = re.compile(
        r"#include <(sys/.*|unistd\.h|pthread\.h|sched\.h|fcntl\.h|dlfcn\.h|windows\.h)>"
    )
    sources = ROOT / "native/src"
    found = {
        path.relative_to(sources).parts[0]
        for path in sources.rglob("*")
        if path.is_file() and system.search(path.read_text())
    }
    assert found == {"platform"}
