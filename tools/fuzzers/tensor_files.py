"""Safetensors files and CTranslate2's model.bin: taken apart, changed and put together again."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Callable
from typing import Any

from fuzzers.base import NUMBERS, change_bytes, change_json, change_text, some_bytes
from fuzzers.gguf_files import TEXTS
from tests.weights import ct2

WIDTHS = {"F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U8": 1, "I8": 1, "BOOL": 1,
          "F64": 8, "I64": 8, "U64": 8, "F8_E4M3": 1}  # fmt: skip
"""Bytes of a value, by its type."""


VALUES: list[Any] = [None, True, [], {}, "", "F32", "I64", "F99", 0.5, -1, 1e308, [0, 0],
                     [1] * 20, "q4", "q4_64", "q4_0", "q4_nl", "q8", "q8_64", [[]],
                     {"dtype": "U8"}, "\ud800"]  # fmt: skip


def safetensors_file(rng: random.Random, seeds: list[bytes]) -> bytes:
    """A changed safetensors file."""
    return changed_safetensors(rng, rng.choice(seeds), lambda: rng.choice(seeds))


def changed_safetensors(rng: random.Random, data: bytes, other: Callable[[], bytes]) -> bytes:
    """A file whose tensors are others, in a header that fits them, or whose header is changed."""
    try:
        if rng.random() < 0.6:
            return other_tensors(rng, data)
        return other_header(rng, data, other)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return change_bytes(rng, data, other())  # it has been changed beyond that


def other_tensors(rng: random.Random, data: bytes) -> bytes:
    """Tensors renamed, moved, doubled, of another type, shape or value; the header is right."""
    size = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    metadata = header.pop("__metadata__", None)
    tensors = []
    for name, each in header.items():
        first, last = each["data_offsets"]
        tensors.append((name, each["dtype"], each["shape"], body[first:last]))
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(tensors))
        name, dtype, shape, values = tensors[at]
        action = rng.randrange(9)
        if action == 0 and len(tensors) > 1:
            del tensors[at]
        elif action == 1:
            tensors.append((rng.choice((name + "x", "x", "a" * 300)), dtype, shape, values))
        elif action == 2:
            other = rng.randrange(len(tensors))
            tensors[at] = (name, *tensors[other][1:])
            tensors[other] = (tensors[other][0], dtype, shape, values)
        elif action == 3:
            size = WIDTHS.get(dtype, 1)
            same = [kind for kind, width in WIDTHS.items() if width == size]
            tensors[at] = (name, rng.choice(same), shape, values)
        elif action == 4:
            other = rng.choice((shape[::-1], [len(values)], [1, *shape], [*shape, 1], shape[1:]))
            tensors[at] = (name, dtype, other, values)
        elif action == 5 and shape:
            half = [shape[0] // 2, *shape[1:]]
            share = len(values) // max(1, shape[0]) * half[0]
            tensors[at] = (name, dtype, half, values[:share])
        elif action == 6:
            bad = rng.choice((b"\xff\xff\xff\x7f", b"\0\0\x80\x7f", b"\xff", b"\0\0\0\x01", b"\0"))
            tensors[at] = (name, dtype, shape, (bad * len(values))[: len(values)])
        elif action == 7:
            tensors[at] = (name, dtype, shape, change_bytes(rng, values, values)[: len(values)])
        else:
            rng.shuffle(tensors)
    made, at = {} if metadata is None else {"__metadata__": metadata}, 0
    for name, dtype, shape, values in tensors:
        made[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(values)]}
        at += len(values)
    text = json.dumps(made).encode()
    text += b" " * (-(8 + len(text)) % 64)
    return struct.pack("<Q", len(text)) + text + b"".join(values for *_, values in tensors)


def other_header(rng: random.Random, data: bytes, other: Callable[[], bytes]) -> bytes:
    """Anything in the header changed, its length or the file's."""
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
    return some_bytes(rng, whole, other)


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


def bin_parts(data: bytes) -> ct2.Bin:
    """The parts of a model.bin; raises struct.error or ValueError where it has none."""
    at = 0

    def take(form: str) -> Any:
        nonlocal at
        (value,) = struct.unpack_from(form, data, at)
        at += struct.calcsize(form)
        return value

    def text() -> bytes:
        nonlocal at
        size = take("<H")
        at += size
        return data[at - size : at - 1]

    model = ct2.Bin(version=take("<I"), spec=text(), revision=take("<I"))
    count = take("<I")
    if count > 999:
        raise ValueError("more than any of these files has")
    for _ in range(count):
        name, rank = text(), take("<B")
        dims = [take("<I") for _ in range(rank)]
        kind, size = take("<B"), take("<I")
        model.entries.append(ct2.Entry(name, kind, dims, data[at : at + size]))
        at += size
    model.aliases = [(text(), text()) for _ in range(min(take("<I"), 99))]
    return model


def ctranslate2_file(rng: random.Random, seeds: list[ct2.Bin]) -> bytes:
    """A changed model.bin."""
    model = copy.deepcopy(rng.choice(seeds))
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        change_variable(rng, model)
    return some_bytes(rng, model.build(), lambda: rng.choice(seeds).build())
