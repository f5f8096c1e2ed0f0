"""LFM2-VL-450M with random weights in each engine's form, made once and kept."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import peer
from models import converted
from runner import REPOSITORY, Command, Progress, cache_folder, environment, run_logged

HERE = Path(__file__).resolve().parent
NAME = "lfm2-vl-450m"
PEERS = {
    "torch": "2.13.0",
    "torchvision": "0.28.0",
    "transformers": "5.24.0",
    "pillow": "13.0.0",
    "gguf": "0.19.0",
    "onnx": "1.23.2",
    "onnxruntime": "1.32.0",
    "platformdirs": "4.14.8",
}
OURS, TRANSFORMERS, LLAMA_CPP = "ours", "transformers", "llama.cpp"
SIDES = (
    (OURS, "INT8"),
    (TRANSFORMERS, "bf16"),
    (TRANSFORMERS, "f32"),
    (LLAMA_CPP, "Q8_0, tower Q8_0"),
    (LLAMA_CPP, "Q8_0, tower F16"),
)
SideKey = tuple[str, str]
"""Engine and type."""


@dataclass(frozen=True)
class Prepared:
    """Interpreters, and each side's model and, for llama.cpp, the file with the tower."""

    python: Path
    llama_cpp: peer.LlamaCpp
    models: dict[SideKey, tuple[Path, Path | None]]


def python_of_peers(progress: Progress) -> Path:
    """The interpreter that has torch, transformers and onnxruntime."""
    pinned = [f"{name}=={version}" for name, version in PEERS.items()]
    return environment("vision", pinned, progress)


def prepare(sides: list[SideKey], progress: Progress) -> Prepared:
    """Write and convert what ``sides`` need."""
    python, llama_cpp = python_of_peers(progress), peer.prepare(progress)
    folder = cache_folder() / "models" / f"{NAME}-random"
    if not (folder / "complete").exists():
        maker = REPOSITORY / "tools" / "make_random_checkpoint.py"
        command: Command = [sys.executable, maker, NAME, folder]
        run_logged(command, cache_folder() / "random.log", progress, f"writing {folder.name}")
        (folder / "complete").touch()
    models: dict[SideKey, tuple[Path, Path | None]] = {}
    for engine, kind in sides:
        if engine == OURS:
            models[engine, kind] = (converted(NAME, folder, kind, progress), None)
        elif engine == TRANSFORMERS:
            models[engine, kind] = (folder, None)
        else:
            text, tower = kind.split(", tower ")
            files = [
                _gguf(python, llama_cpp, folder, outtype, more, progress)
                for outtype, more in ((text, ()), (tower, ("--mmproj",)))
            ]
            models[engine, kind] = (files[0], files[1])
    return Prepared(python, llama_cpp, models)


def _gguf(
    python: Path,
    llama_cpp: peer.LlamaCpp,
    folder: Path,
    outtype: str,
    more: tuple[str, ...],
    progress: Progress,
) -> Path:
    """A file of llama.cpp, by its own conversion; of the tower with ``--mmproj``."""
    target = folder.with_name(f"{folder.name}{'-tower' * bool(more)}.{outtype}.gguf")
    if not target.exists():
        part = target.with_suffix(".part")
        vendored = llama_cpp.source / "vendor" / "llama.cpp"
        command: Command = [
            *("env", f"PYTHONPATH={vendored}:{vendored / 'gguf-py'}", python),
            *(HERE / "vision_gguf.py", folder, "--outtype", outtype.lower()),
            *("--outfile", part, *more),
        ]
        run_logged(command, cache_folder() / "gguf.log", progress, f"writing {target.name}")
        part.replace(target)
    return target
