"""Model files: GGUF, safetensors, weights folders, CTranslate2, adapters and the eyes of a model.

Correct little models are taken apart, some of their counts, lengths, types, offsets, names or
values are changed, and they are put together again. Each file goes through a reader and, when that
accepts it, through the conversion; it ends in ModelFormatError or UnsupportedModel.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import struct
from pathlib import Path

from cactus.errors import ModelFormatError, UnsupportedModel
from cactus.weights.convert import convert
from cactus.weights.format.folder import WeightsFolder
from cactus.weights.format.safetensors import read_safetensors
from cactus.weights.sources.ctranslate2_whisper import open_ctranslate2
from cactus.weights.sources.gguf.blocks import dequantize
from cactus.weights.sources.gguf.read import read_gguf
from fuzzers.base import Case, Folders, change_bytes, change_json, changed_document, pack, unpack
from fuzzers.gguf_files import change_gguf, gguf_file, gguf_parts, gguf_seeds
from fuzzers.tensor_files import (
    bin_parts,
    change_variable,
    changed_safetensors,
    ctranslate2_file,
    safetensors_file,
)
from tests.models import golden, vision
from tests.weights import ct2, mmproj
from tests.weights.made import write_tokenizer

SHAPELESS = (struct.error, ValueError, TypeError, LookupError, OverflowError)
"""What comes of taking apart a file that has been changed beyond that."""

KINDS = ("gguf", "safetensors", "folder", "ctranslate2", "lora", "eyes")


class Fuzz(Folders):
    """Six ways through which files are sent."""

    errors = (ModelFormatError, UnsupportedModel)
    cpu_seconds = 1.0

    def __init__(self, scratch: Path) -> None:
        self.folder = scratch
        self.file = self.folder / "file"
        self.out = self.folder / "out"
        self.model = self.folder / "model"
        self.ggufs = gguf_seeds()
        self.safetensors: list[bytes] = []
        for index, model in enumerate(self.ggufs[:: max(1, len(self.ggufs) // 12)]):
            self.file.write_bytes(model.build())
            seed = self.folder / f"seed{index}"
            made = convert(self.file, seed, "INT8" if index % 2 else None).target
            self.safetensors.append((made / "model.safetensors").read_bytes())
        shutil.copytree(self.folder / "seed0", self.model)
        self.config = json.loads((self.model / "config.json").read_text())
        tensors = ct2.whisper_tensors(1)
        self.whispers = [ct2.whisper_bin(tensors, kind) for kind in ("float16", "int8", "int16")]
        self.whisper = ct2.write_folder(self.folder / "whisper", self.whispers[0])
        self._adapters()
        self._eyes()

    def _adapters(self) -> None:
        self.base, self.lora = self.folder / "base", self.folder / "lora"
        shutil.copytree(golden.FOLDER / "llama", self.base)
        write_tokenizer(self.base)
        self.lora.mkdir()
        names = ("adapter_config.json", "adapter_model.safetensors")
        self.adapter = {name: (golden.FOLDER / "lora_llama" / name).read_bytes() for name in names}
        convert(self.base, self.out, "INT8", lora=golden.FOLDER / "lora_llama")

    def _eyes(self) -> None:
        self.texts: dict[str, Path] = {}
        self.eyes: dict[str, bytes] = {}
        for name in mmproj.KINDS:
            seen = vision.load(name, self.folder / "seen")
            self.texts[name] = mmproj.write_text(name, seen, self.folder / name)
            self.eyes[name] = mmproj.write_mmproj(name, seen, self.file).read_bytes()
            convert(self.texts[name], self.out, "INT8", mmproj=self.file)

    def make(self, rng: random.Random) -> Case:
        """A damaged model."""
        kind = rng.choice(KINDS)
        if kind == "gguf":
            return Case(kind, gguf_file(rng, self.ggufs))
        if kind == "safetensors":
            return Case(kind, safetensors_file(rng, self.safetensors))
        if kind == "folder":
            data, config = safetensors_file(rng, self.safetensors), self.config
            if rng.random() < 0.2:
                config = change_json(rng, config)
            files = {"model.safetensors": data, "config.json": json.dumps(config).encode()}
            return Case(kind, pack(files))
        if kind == "lora":
            return Case(kind, pack(self._changed(rng, self.adapter, self.adapter)))
        if kind == "eyes":
            name = rng.choice(list(self.eyes))
            files = {"name": name.encode(), "eyes.gguf": self.eyes[name]}
            return Case(kind, pack(self._changed(rng, files, files)))
        settings, tokens = ct2.config(), ct2.tokenizer()
        if rng.random() < 0.3:
            settings, tokens = change_json(rng, settings), change_json(rng, tokens)
        files = {
            "model.bin": ctranslate2_file(rng, self.whispers),
            "config.json": json.dumps(settings).encode(),
            "tokenizer.json": json.dumps(tokens).encode(),
        }
        return Case(kind, pack(files))

    def mutate(self, rng: random.Random, case: Case, other: Case) -> Case:
        """One of its files changed in its parts where it has some, or as bytes."""
        if case.kind in ("gguf", "safetensors"):
            return Case(case.kind, self._change(rng, case.kind, case.data, other.data))
        more = unpack(other.data) if other.kind == case.kind else {}
        return Case(case.kind, pack(self._changed(rng, unpack(case.data), more)))

    def _changed(
        self, rng: random.Random, files: dict[str, bytes], more: dict[str, bytes]
    ) -> dict[str, bytes]:
        """The files with one of them changed."""
        name = rng.choice([each for each in files if each != "name"])
        changed = self._change(rng, name.rpartition(".")[2], files[name], more.get(name, b""))
        return files | {name: changed}

    def _change(self, rng: random.Random, kind: str, data: bytes, other: bytes) -> bytes:
        if rng.random() < 0.1:
            return change_bytes(rng, data, other)
        if kind == "json":
            return changed_document(rng, data)
        if kind == "safetensors":
            return changed_safetensors(rng, data, lambda: other)
        try:
            if kind == "gguf":
                model = gguf_parts(data)
                change_gguf(rng, model)
                return model.build()
            parts = bin_parts(data)
            change_variable(rng, parts)
            return parts.build()
        except SHAPELESS:
            return change_bytes(rng, data, other)

    def run(self, case: Case) -> None:
        """Read it, and convert it where it can be read."""
        getattr(self, f"_run_{case.kind}")(case)

    def _run_gguf(self, case: Case) -> None:
        self.file.write_bytes(case.data)
        file = read_gguf(self.file)
        try:
            for name in file.tensors:
                assert file.array(name).nbytes == file.tensors[name].nbytes
        finally:
            file.close()
        convert(self.file, self.out, case.chance().choice((None, "INT4", "INT8", "FP32")))
        WeightsFolder.open(self.out).close()

    def _run_safetensors(self, case: Case) -> None:
        self.file.write_bytes(case.data)
        file = read_safetensors(self.file)
        try:
            for name in file.tensors:
                assert file.read(name).nbytes == file.tensors[name].nbytes
        finally:
            file.close()

    def _run_folder(self, case: Case) -> None:
        for name, data in unpack(case.data).items():
            (self.model / name).write_bytes(data)
        with WeightsFolder.open(self.model) as folder:
            for name, tensor in folder.tensors.items():
                assert folder.dequantize(name).shape == tensor.shape

    def _run_ctranslate2(self, case: Case) -> None:
        for name, data in unpack(case.data).items():
            (self.whisper / name).write_bytes(data)
        source = open_ctranslate2(self.whisper)
        try:
            for tensor in source.tensors:
                raw = tensor.rows(0, math.prod(tensor.shape[:-1]))
                assert raw.nbytes == tensor.nbytes
                values = dequantize(tensor.kind, raw)
                assert values.size == math.prod(tensor.shape)
        finally:
            source.close()
        convert(self.whisper, self.out, case.chance().choice((None, "INT8", "FP16")))
        WeightsFolder.open(self.out).close()

    def _run_lora(self, case: Case) -> None:
        for name, data in unpack(case.data).items():
            (self.lora / name).write_bytes(data)
        convert(self.base, self.out, case.chance().choice((None, "FP16")), lora=self.lora)
        WeightsFolder.open(self.out).close()

    def _run_eyes(self, case: Case) -> None:
        files = unpack(case.data)
        self.file.write_bytes(files["eyes.gguf"])
        convert(self.texts[files["name"].decode()], self.out, "INT8", mmproj=self.file)
        with WeightsFolder.open(self.out) as folder:
            assert {name for name in folder.tensors if "vision" in name}, "it does not see"
