#!/usr/bin/env python3
"""Fuzz the readers of model files with files that are almost right.

    python tools/fuzz_weights.py --seconds 600 --seed 1 [--keep DIR]
    python tools/fuzz_weights.py --files 5000

Correct little models are taken apart, some of their counts, lengths, types, offsets, names or
values are changed, and they are put together again; some are also cut, spliced or flipped as
bytes. Each file goes through a reader and, when that accepts it, through the conversion. Anything
but `ModelFormatError` or `UnsupportedModel`, more than a second of processor time, or more memory
than a small file deserves is a finding: it is printed, and kept with --keep. Exit status 1 then.
"""

from __future__ import annotations

import copy
import json
import math
import random
import shutil
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "python"), str(ROOT)]


from fuzzing import Ending, bounded  # noqa: E402
from fuzzing import main as fuzz  # noqa: E402

from cactus.errors import ModelFormatError, UnsupportedModel  # noqa: E402
from cactus.weights.convert import convert  # noqa: E402
from cactus.weights.format.folder import WeightsFolder  # noqa: E402
from cactus.weights.format.safetensors import read_safetensors  # noqa: E402
from cactus.weights.sources.ctranslate2_whisper import open_ctranslate2  # noqa: E402
from cactus.weights.sources.gguf.blocks import dequantize  # noqa: E402
from cactus.weights.sources.gguf.read import read_gguf  # noqa: E402
from tests.weights import ct2, forge  # noqa: E402

EXPECTED = (ModelFormatError, UnsupportedModel)

# Numbers at which arithmetic goes wrong: powers of two, their neighbours, block sizes.
POWERS = (4, 5, 8, 15, 16, 31, 32, 40, 48, 61, 62, 63, 64)
NUMBERS = sorted(
    {0, 1, 2, 3, 5, 13, 24, 255, 256, 272, 10**6, 10**9, 10**12}
    | {2**bits + step for bits in POWERS for step in (-1, 0, 1)}
)
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
    return change_bytes(rng, model.build(), lambda: rng.choice(seeds).build())


# Bytes


def change_bytes(rng: random.Random, data: bytes, other: Callable[[], bytes]) -> bytes:
    """Cut, splice, flip or overwrite, in a third of the cases."""
    if not data or rng.random() > 0.35:
        return data
    at = rng.randrange(min(len(data), rng.choice((64, 4096, len(data)))))
    action = rng.randrange(6)
    if action == 0:
        return data[:at]
    if action == 1:
        return data[: len(data) * rng.randrange(16) // 16]
    if action == 2:
        flipped = bytearray(data)
        for _ in range(rng.choice((1, 1, 4, 32))):
            flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    if action == 3:
        size = rng.choice((1, 4, 8))
        number = (rng.choice(NUMBERS) % 2 ** (8 * size)).to_bytes(size, "little")
        return data[:at] + number + data[at + size :]
    if action == 4:
        more = other()
        return data[:at] + more[rng.randrange(len(more)) :]
    size = rng.choice((1, 7, 8, 64))
    return data[:at] + (rng.randbytes(size) if rng.random() < 0.5 else b"") + data[at + size :]


# safetensors and the folder made of them

JSON_VALUES: list[Any] = [None, True, [], {}, "", "F32", "I64", "F99", 0.5, -1, 1e308, [0, 0],
                          [1] * 20, "q4", "q4_64", "q4_0", "q4_nl", "q8", "q8_64", [[]],
                          {"dtype": "U8"}, "\ud800"]  # fmt: skip


def change_json(rng: random.Random, value: Any) -> Any:
    """Change something somewhere inside a JSON value."""
    if rng.random() < 0.25 or not isinstance(value, dict | list) or not value:
        if isinstance(value, int) and rng.random() < 0.7:
            return rng.choice([*NUMBERS, value + rng.choice((-64, -1, 1, 64)), -value])
        return rng.choice(JSON_VALUES)
    if isinstance(value, list):
        index = rng.randrange(len(value))
        changed = [*value[:index], change_json(rng, value[index]), *value[index + 1 :]]
        return changed if rng.random() < 0.8 else changed[:index]
    key = rng.choice(list(value))
    action = rng.randrange(10)
    if action == 0:
        return {name: item for name, item in value.items() if name != key}
    if action == 1:
        return value | {
            rng.choice(["", "__metadata__", "cactus.filler.1", "x" * 999, "é"]): value[key]
        }
    if action == 2:
        return value | {key: value[rng.choice(list(value))]}
    if isinstance(value[key], str) and value[key].startswith("{"):
        try:
            return value | {key: json.dumps(change_json(rng, json.loads(value[key])))}
        except ValueError:
            return value | {key: value[key][: rng.randrange(len(value[key]))]}
    return value | {key: change_json(rng, value[key])}


def change_text(rng: random.Random, text: bytes) -> bytes:
    """Change JSON as text: repeated keys, depth, literals that are none."""
    action = rng.randrange(8)
    at = rng.randrange(len(text) + 1)
    if action == 0:
        return text[:-1] + b"," + text[1:]
    if action == 1:
        return text.replace(b"0", b"9" * rng.choice((1, 20, 5000)), 1)
    if action == 2:
        return text.replace(b"[", b"[" * rng.choice((2, 60, 100_000)), 1)
    if action == 3:
        return text.replace(b":", b":NaN ", 1)
    if action == 4:
        return (
            text[:at] + rng.choice((b" ", b"\0", b"\xff", b"\\u0000", b'"', b"{", b"}")) + text[at:]
        )
    return text


def safetensors_file(rng: random.Random, seeds: list[bytes]) -> bytes:
    """A changed safetensors file."""
    data = rng.choice(seeds)
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        header = change_json(rng, header)
    text = change_text(rng, json.dumps(header).encode())
    if rng.random() < 0.8:
        text += b" " * (-(8 + len(text)) % 64)
    claimed = rng.choice(NUMBERS) % 2**64 if rng.random() < 0.05 else len(text)
    if rng.random() < 0.1:
        body = body[: rng.randrange(len(body) + 1)] + bytes(rng.choice((0, 1, 64)))
    whole = struct.pack("<Q", claimed) + text + body
    return change_bytes(rng, whole, lambda: rng.choice(seeds))


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
    return change_bytes(rng, model.build(), lambda: rng.choice(seeds).build())


# What is done with a file


class Bench:
    """A scratch folder, and the four ways through which a file is sent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "file"
        self.out = folder / "out"
        self.model = folder / "model"
        self.ggufs = gguf_seeds()
        self.safetensors: list[bytes] = []
        for index, model in enumerate(self.ggufs):
            self.file.write_bytes(model.build())
            made = convert(self.file, folder / f"seed{index}", "INT8" if index % 2 else None).target
            self.safetensors.append((made / "model.safetensors").read_bytes())
        shutil.copytree(folder / "seed0", self.model)
        self.config = json.loads((self.model / "config.json").read_text())
        tensors = ct2.whisper_tensors(1)
        self.whispers = [ct2.whisper_bin(tensors, kind) for kind in ("float16", "int8", "int16")]
        self.whisper = ct2.write_folder(folder / "whisper", self.whispers[0])

    def gguf(self, rng: random.Random) -> tuple[bytes, Callable[[], None]]:
        data = gguf_file(rng, self.ggufs)

        def run() -> None:
            self.file.write_bytes(data)
            file = read_gguf(self.file)
            try:
                for name in file.tensors:
                    assert file.array(name).nbytes == file.tensors[name].nbytes
            finally:
                file.close()
            convert(self.file, self.out, rng.choice((None, "INT4", "INT8", "FP32")))
            WeightsFolder.open(self.out).close()

        return data, run

    def plain(self, rng: random.Random) -> tuple[bytes, Callable[[], None]]:
        data = safetensors_file(rng, self.safetensors)

        def run() -> None:
            self.file.write_bytes(data)
            file = read_safetensors(self.file)
            try:
                for name in file.tensors:
                    assert file.read(name).nbytes == file.tensors[name].nbytes
            finally:
                file.close()

        return data, run

    def packed(self, rng: random.Random) -> tuple[bytes, Callable[[], None]]:
        data = safetensors_file(rng, self.safetensors)
        config = self.config
        if rng.random() < 0.2:
            config = change_json(rng, config)

        def run() -> None:
            (self.model / "model.safetensors").write_bytes(data)
            (self.model / "config.json").write_text(json.dumps(config))
            with WeightsFolder.open(self.model) as folder:
                for name, tensor in folder.tensors.items():
                    assert folder.dequantize(name).shape == tensor.shape

        return data, run

    def ctranslate2(self, rng: random.Random) -> tuple[bytes, Callable[[], None]]:
        data = ctranslate2_file(rng, self.whispers)
        settings, tokens = ct2.config(), ct2.tokenizer()
        if rng.random() < 0.3:
            settings, tokens = change_json(rng, settings), change_json(rng, tokens)

        def run() -> None:
            (self.whisper / "model.bin").write_bytes(data)
            (self.whisper / "config.json").write_text(json.dumps(settings))
            (self.whisper / "tokenizer.json").write_text(json.dumps(tokens))
            source = open_ctranslate2(self.whisper)
            try:
                for tensor in source.tensors:
                    raw = tensor.rows(0, math.prod(tensor.shape[:-1]))
                    assert raw.nbytes == tensor.nbytes
                    values = dequantize(tensor.kind, raw)
                    assert values.size == math.prod(tensor.shape)
            finally:
                source.close()

        return data, run


def read_once(run: Callable[[], None]) -> Ending:
    """Read one file."""
    start = time.process_time()
    try:
        # What a file can hold may overflow in its own arithmetic, but nobody wants to read of it.
        with bounded(), warnings.catch_warnings():
            warnings.simplefilter("error")
            run()
        ending = "accepted"
    except EXPECTED as error:
        ending = type(error).__name__
        if len(str(error)) > 2000:
            return ending, f"message of {len(str(error))} characters: {str(error)[:200]}", 0.0
    except Exception:
        return "finding", traceback.format_exc(), 0.0
    return ending, None, time.process_time() - start


def main() -> int:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        bench = Bench(Path(scratch))
        targets = {
            "gguf": bench.gguf,
            "safetensors": bench.plain,
            "folder": bench.packed,
            "ctranslate2": bench.ctranslate2,
        }

        def make(rng: random.Random) -> tuple[str, bytes, Callable[[], Ending]]:
            name = rng.choice(list(targets))
            data, run = targets[name](rng)
            return name, data, partial(read_once, run)

        return fuzz("Fuzz the readers of model files.", make, cpu_seconds=1.0, memory=512 << 20)


if __name__ == "__main__":
    sys.exit(main())
