"""Model files: GGUF, safetensors, weights folders and CTranslate2.

Correct little models are taken apart, some of their counts, lengths, types, offsets, names or
values are changed, and they are put together again. Each file goes through a reader and, when that
accepts it, through the conversion; it ends in ModelFormatError or UnsupportedModel.
"""

from __future__ import annotations

import copy
import json
import math
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cactus.errors import ModelFormatError, UnsupportedModel
from cactus.weights.convert import convert
from cactus.weights.format.folder import WeightsFolder
from cactus.weights.format.safetensors import read_safetensors
from cactus.weights.sources.ctranslate2_whisper import open_ctranslate2
from cactus.weights.sources.gguf.blocks import dequantize
from cactus.weights.sources.gguf.read import read_gguf
from fuzzers.base import (
    NUMBERS,
    Case,
    Folders,
    change_bytes,
    change_json,
    change_text,
    pack,
    unpack,
)
from tests.weights import ct2, forge

TEXTS = [b"", b"\0", b"\xff", b"a", b"a" * 65, b"a" * 70000, "é".encode(), b"\xed\xa0\x80",
         b"../../etc/passwd", b"token_embd.weight", b"blk.0.attn_q.weight", b"llama", b"lfm2",
         b"gemma3", b"general.alignment", b"__metadata__", b"{{ 1 }}", b"<0x0A>"]  # fmt: skip


# GGUF


def gguf_seeds() -> list[forge.Forge]:
    """Little models of several architectures, and one in every format."""
    wide = [name for name, (_, elements, _) in forge.TYPES.items() if elements == 256]
    seeds = [forge.tiny_llama(name, inner=256) for name in wide if name != "IQ1_S"]
    seeds += [forge.tiny_llama(name) for name in forge.TYPES if name not in wide]
    untied = forge.tiny_llama()
    untied.add("output.weight", "Q8_0", (272, 32))
    untied.add("rope_freqs.weight", "F32", (8,))
    untied.tensors[-1].data = struct.pack("<8f", *[1.0] * 8)
    untied.set("general.alignment", forge.U32, 32)
    families = (
        *(forge.tiny_gemma3(), forge.tiny_granite(), forge.tiny_lfm2(), forge.tiny_phi3()),
        *(forge.tiny_qwen2(), forge.tiny_qwen3(), forge.tiny_smollm3()),
    )
    return [*seeds, untied, *families]


def some_value(rng: random.Random, kind: int) -> bytes:
    """The payload of a metadata value: right for its type, or not."""
    if rng.random() < 0.1:
        return rng.randbytes(rng.choice((0, 1, 4, 8, 20)))
    if kind == forge.STRING:
        payload = forge.text(rng.choice(TEXTS))
        return (
            struct.pack("<Q", rng.choice(NUMBERS) % 2**64) + payload[8:]
            if rng.random() < 0.3
            else payload
        )
    if kind == forge.ARRAY:
        inner = rng.choice((*range(13), 13, 255, 2**32 - 1))
        count = rng.choice((0, 1, 2, 3, 272))
        claimed = rng.choice(NUMBERS) % 2**64 if rng.random() < 0.3 else count
        items = (
            b"".join(some_value(rng, inner) for _ in range(count)) if inner != forge.ARRAY else b""
        )
        return struct.pack("<IQ", inner, claimed) + items
    if kind in (forge.F32, forge.F64):
        number = rng.choice((0.0, -1.0, 1e-5, 1e4, 1e30, float("nan"), float("inf")))
        return struct.pack("<f" if kind == forge.F32 else "<d", number)
    size = {0: 1, 1: 1, 2: 2, 3: 2, 7: 1, 10: 8, 11: 8}.get(kind, 4)
    return (rng.choice(NUMBERS) % 2 ** (8 * size)).to_bytes(size, "little")


def change_entry(rng: random.Random, model: forge.Forge) -> None:
    """Change one metadata entry."""
    entry = rng.choice(model.entries)
    action = rng.randrange(6)
    if action == 0:
        entry.kind = rng.choice((*range(13), 13, 255))
    elif action in (1, 2):
        entry.payload = some_value(rng, entry.kind)
    elif action == 3:
        entry.kind = rng.choice(range(13))
        entry.payload = some_value(rng, entry.kind)
    elif action == 4:
        entry.key = rng.choice([*TEXTS, rng.choice(model.entries).key])
    elif len(entry.payload) > 12:
        at = rng.choice((0, 4, rng.randrange(len(entry.payload) - 8)))
        number = struct.pack("<Q", rng.choice(NUMBERS) % 2**64)
        entry.payload = entry.payload[:at] + number + entry.payload[at + 8 :]


def change_tensor(rng: random.Random, model: forge.Forge) -> None:
    """Change one line of the tensor table, or its data."""
    tensor = rng.choice(model.tensors)
    action = rng.randrange(8)
    if action == 0:
        tensor.dims = [rng.choice(NUMBERS) for _ in range(rng.randrange(6))]
    elif action == 1 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
    elif action == 2:
        tensor.dims.reverse()
    elif action == 3:
        tensor.dim_count = rng.choice(NUMBERS) % 2**32
    elif action == 4:
        tensor.type = rng.choice((*range(45), 255, 2**32 - 1))
    elif action == 5:
        tensor.offset = rng.choice([*NUMBERS, *range(0, 4096, 32)]) % 2**64
    elif action == 6:
        tensor.name = rng.choice([*TEXTS, rng.choice(model.tensors).name])
    else:
        size = rng.choice((0, 1, len(tensor.data) // 2, len(tensor.data)))
        tensor.data = tensor.data[:size] + rng.randbytes(rng.choice((0, 1, 32, 300)))


def change_order(rng: random.Random, model: forge.Forge) -> None:
    """Drop, repeat or move entries and tensors, or lie about how many there are."""
    part: list[Any] = rng.choice((model.entries, model.tensors))
    action = rng.randrange(7)
    if action == 0 and part:
        del part[rng.randrange(len(part))]
    elif action == 1 and part:
        part.append(copy.deepcopy(rng.choice(part)))
    elif action == 2:
        rng.shuffle(part)
    elif action == 3:
        model.tensor_count = rng.choice([*NUMBERS, len(model.tensors) + rng.randint(-2, 2)])
    elif action == 4:
        model.entry_count = rng.choice([*NUMBERS, len(model.entries) + rng.randint(-2, 2)])
    elif action == 5:
        model.version = rng.choice((0, 1, 2, 3, 4, 3 << 24, 2**32 - 1))
    else:
        model.alignment = rng.choice((1, 8, 16, 64, 4096))
        value = model.alignment if rng.random() < 0.5 else rng.choice(NUMBERS) % 2**32
        model.set("general.alignment", forge.U32, value)


def gguf_file(rng: random.Random, seeds: list[forge.Forge]) -> bytes:
    """A changed GGUF file."""
    model = copy.deepcopy(rng.choice(seeds))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        if model.entries and model.tensors:
            rng.choice((change_entry, change_tensor, change_order))(rng, model)
    return some_bytes(rng, model.build(), lambda: rng.choice(seeds).build())


# safetensors and the folder made of them

VALUES: list[Any] = [None, True, [], {}, "", "F32", "I64", "F99", 0.5, -1, 1e308, [0, 0],
                     [1] * 20, "q4", "q4_64", "q4_0", "q4_nl", "q8", "q8_64", [[]],
                     {"dtype": "U8"}, "\ud800"]  # fmt: skip


def safetensors_file(rng: random.Random, seeds: list[bytes]) -> bytes:
    """A changed safetensors file."""
    data = rng.choice(seeds)
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        header = change_json(rng, header, VALUES)
    text = change_text(rng, json.dumps(header).encode())
    if rng.random() < 0.8:
        text += b" " * (-(8 + len(text)) % 64)
    claimed = rng.choice(NUMBERS) % 2**64 if rng.random() < 0.05 else len(text)
    if rng.random() < 0.1:
        body = body[: rng.randrange(len(body) + 1)] + bytes(rng.choice((0, 1, 64)))
    whole = struct.pack("<Q", claimed) + text + body
    return some_bytes(rng, whole, lambda: rng.choice(seeds))


# CTranslate2


def change_variable(rng: random.Random, model: ct2.Bin) -> None:
    """Change one variable, or a count, or the order."""
    entry = rng.choice(model.entries)
    action = rng.randrange(12)
    if action == 0:
        entry.dims = [rng.choice(NUMBERS) % 2**32 for _ in range(rng.randrange(6))]
    elif action == 1 and entry.dims:
        entry.dims[rng.randrange(len(entry.dims))] = rng.choice(NUMBERS) % 2**32
    elif action == 2:
        entry.dims.reverse()
    elif action == 3:
        entry.rank = rng.choice((0, 1, 2, 3, 4, 5, 255))
    elif action == 4:
        entry.type = rng.choice((*range(8), 255))
    elif action == 5:
        entry.nbytes = rng.choice(NUMBERS) % 2**32
    elif action == 6:
        entry.name = rng.choice([*TEXTS, rng.choice(model.entries).name])[:60_000]
    elif action == 7:
        entry.data = rng.randbytes(len(entry.data))
    elif action == 8:
        model.entries.remove(entry)
    elif action == 9:
        model.entries.append(copy.deepcopy(entry))
    elif action == 10:
        model.entry_count = rng.choice([*NUMBERS, len(model.entries) + rng.randint(-2, 2)]) % 2**32
    else:
        model.aliases.append((rng.choice(model.entries).name, rng.choice(TEXTS)[:60_000]))


def ctranslate2_file(rng: random.Random, seeds: list[ct2.Bin]) -> bytes:
    """A changed model.bin."""
    model = copy.deepcopy(rng.choice(seeds))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        change_variable(rng, model)
    return some_bytes(rng, model.build(), lambda: rng.choice(seeds).build())


def some_bytes(rng: random.Random, data: bytes, other: Callable[[], bytes]) -> bytes:
    """Bytes changed in a third of the cases."""
    return change_bytes(rng, data, other()) if rng.random() < 0.35 else data


class Fuzz(Folders):
    """Four ways through which a file is sent."""

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

    def make(self, rng: random.Random) -> Case:
        """A damaged model."""
        kind = rng.choice(("gguf", "safetensors", "folder", "ctranslate2"))
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
        """Bytes of a file, or of one of several."""
        if case.kind in ("gguf", "safetensors"):
            return Case(case.kind, change_bytes(rng, case.data, other.data))
        return super().mutate(rng, case, case if other.kind != case.kind else other)

    def run(self, case: Case) -> None:
        """Read it, and convert it where it can be read."""
        getattr(self, f"_{case.kind}")(case)

    def _gguf(self, case: Case) -> None:
        self.file.write_bytes(case.data)
        file = read_gguf(self.file)
        try:
            for name in file.tensors:
                assert file.array(name).nbytes == file.tensors[name].nbytes
        finally:
            file.close()
        convert(self.file, self.out, case.chance().choice((None, "INT4", "INT8", "FP32")))
        WeightsFolder.open(self.out).close()

    def _safetensors(self, case: Case) -> None:
        self.file.write_bytes(case.data)
        file = read_safetensors(self.file)
        try:
            for name in file.tensors:
                assert file.read(name).nbytes == file.tensors[name].nbytes
        finally:
            file.close()

    def _folder(self, case: Case) -> None:
        for name, data in unpack(case.data).items():
            (self.model / name).write_bytes(data)
        with WeightsFolder.open(self.model) as folder:
            for name, tensor in folder.tensors.items():
                assert folder.dequantize(name).shape == tensor.shape

    def _ctranslate2(self, case: Case) -> None:
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
