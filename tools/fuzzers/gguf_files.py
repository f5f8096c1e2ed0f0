"""GGUF files: little models, taken apart, changed and put together again."""

from __future__ import annotations

import copy
import random
import struct
from typing import Any

from fuzzers.base import NUMBERS, some_bytes
from tests.weights import forge

TEXTS = [b"", b"\0", b"\xff", b"a", b"a" * 65, b"a" * 70000, "é".encode(), b"\xed\xa0\x80",
         b"../../etc/passwd", b"token_embd.weight", b"blk.0.attn_q.weight", b"llama", b"lfm2",
         b"gemma3", b"general.alignment", b"__metadata__", b"{{ 1 }}", b"<0x0A>"]  # fmt: skip

SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of a scalar, by its type."""


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


def gguf_parts(data: bytes) -> forge.Forge:
    """The parts of a file; raises struct.error, LookupError or ValueError where it has none."""
    version, tensors, entries = struct.unpack_from("<IQQ", data, 4)
    model, at = forge.Forge(magic=data[:4], version=version), 24
    if max(tensors, entries) > 999:
        raise ValueError("more than any of these files has")

    def text() -> bytes:
        nonlocal at
        (size,) = struct.unpack_from("<Q", data, at)
        at += 8 + size
        if at > len(data):
            raise ValueError("longer than the file")
        return data[at - size : at]

    def skip(kind: int) -> None:
        nonlocal at
        if kind == forge.STRING:
            text()
        elif kind == forge.ARRAY:
            inner, count = struct.unpack_from("<IQ", data, at)
            at += 12
            if count > len(data):
                raise ValueError("more items than bytes")
            for _ in range(count):
                skip(inner)
        else:
            at += SIZES[kind]

    for _ in range(entries):
        key = text()
        (kind,) = struct.unpack_from("<I", data, at)
        at = start = at + 4
        skip(kind)
        model.entries.append(forge.Entry(key, kind, data[start:at]))
    places = []
    for _ in range(tensors):
        name = text()
        (rank,) = struct.unpack_from("<I", data, at)
        dims = struct.unpack_from(f"<{min(rank, 9)}Q", data, at + 4)
        kind, offset = struct.unpack_from("<IQ", data, at + 4 + 8 * len(dims))
        at += 16 + 8 * len(dims)
        model.tensors.append(forge.Tensor(name, list(dims), kind, b""))
        places.append(offset)
    at += -at % model.alignment
    for tensor, first in zip(model.tensors, places, strict=True):
        last = min((each for each in places if each > first), default=len(data) - at)
        tensor.data = data[at + first : at + last]
    return model


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
    size = SIZES.get(kind, 4)
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


def change_gguf(rng: random.Random, model: forge.Forge) -> None:
    """Change one thing of a file that has entries and tensors."""
    if model.entries and model.tensors:
        rng.choice((change_entry, change_tensor, change_order))(rng, model)


def gguf_file(rng: random.Random, seeds: list[forge.Forge]) -> bytes:
    """A changed GGUF file."""
    model = copy.deepcopy(rng.choice(seeds))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        change_gguf(rng, model)
    return some_bytes(rng, model.build(), lambda: rng.choice(seeds).build())
