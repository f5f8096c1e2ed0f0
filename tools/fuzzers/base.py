"""What a fuzzer is: it makes cases, and feeds them to the code that must stand them."""

from __future__ import annotations

import hashlib
import io
import json
import random
import struct
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

POWERS = (4, 5, 7, 8, 15, 16, 24, 31, 32, 48, 53, 61, 62, 63, 64)

NUMBERS = sorted(
    {0, 1, 2, 3, 5, 13, 24, 100, 255, 256, 272, 1000, 10**6, 10**9, 10**12}
    | {2**bits + step for bits in POWERS for step in (-1, 0, 1)}
)
"""Numbers at which arithmetic goes wrong: powers of two, their neighbours, sizes of blocks."""

JSON_VALUES: list[Any] = [None, True, False, [], {}, "", "a", 0, 1, 0.5, -1, 1e308, [0, 0],
                          [1] * 20, [[]], {"a": None}, "\ud800", "\0", "é" * 300, "x" * 70_000,
                          "1", "null", {"type": "object"}, [None], -0.0, 2**70]  # fmt: skip


class Case(NamedTuple):
    """One input: all that decides what happens. `kind` says which door it goes through."""

    kind: str
    data: bytes

    @property
    def name(self) -> str:
        """The name of the file in which it is kept; `Case.read` knows the kind from it."""
        return f"{self.kind}-{hashlib.sha256(self.data).hexdigest()[:10]}"

    @classmethod
    def read(cls, path: Path) -> Case:
        """The case in a file."""
        return cls(path.name.rpartition("-")[0], path.read_bytes())

    def chance(self) -> random.Random:
        """For what is chosen when it is run: the same for the same bytes."""
        return random.Random(hashlib.sha256(self.data).digest())


class Fuzzer(ABC):
    """Makes cases and runs them.

    `errors` are those that a case may end with; anything else that comes out of `run` is a finding,
    as is more than `cpu_seconds` of processor time, or more than `memory` bytes beyond what the
    process had at first. What it keeps must not grow by more than `growth` bytes in one turn.
    """

    errors: ClassVar[tuple[type[BaseException], ...]]
    cpu_seconds: ClassVar[float] = 2.0
    memory: ClassVar[int] = 512 << 20
    growth: ClassVar[int] = 96 << 20
    longest: ClassVar[int] = 2000
    """Characters of an error's message: more is a finding."""

    by_message: ClassVar[bool] = False
    """Whether a new error, or answer in `said`, makes a case worth changing, as new lines do: where
    what works is not Python in this thread."""
    said: str = ""

    @abstractmethod
    def __init__(self, scratch: Path) -> None: ...

    @abstractmethod
    def make(self, rng: random.Random) -> Case:
        """A case that is almost right."""

    @abstractmethod
    def run(self, case: Case) -> None:
        """Feed it; AssertionError where what comes of it contradicts itself."""

    def mutate(self, rng: random.Random, case: Case, other: Case) -> Case:
        """The case, changed a little; `other` may be of another kind."""
        return Case(case.kind, change_bytes(rng, case.data, other.data))


def change_bytes(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Cut, splice, flip, double or overwrite a few bytes."""
    for _ in range(rng.choice((1, 1, 2, 5))):
        data = _change_once(rng, data, other)
    return data


def _change_once(rng: random.Random, data: bytes, other: bytes) -> bytes:
    if not data:
        return rng.randbytes(rng.choice((0, 1, 5, 40)))
    at = rng.randrange(min(len(data), rng.choice((64, 4096, len(data)))))
    action = rng.randrange(9)
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
        size, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
        number = (rng.choice(NUMBERS) % 2 ** (8 * size)).to_bytes(size, order)  # type: ignore[arg-type]
        return data[:at] + number + data[at + size :]
    if action == 4 and other:
        return data[:at] + other[rng.randrange(len(other)) :]
    if action == 5 and other:
        start = rng.randrange(len(other))
        return data[:at] + other[start : start + rng.choice((1, 8, 64, 1000))] + data[at:]
    if action == 6:
        piece = data[at : at + rng.choice((1, 4, 20, 200))]
        return data[:at] + piece * rng.choice((2, 3, 50)) + data[at:]
    if action == 7:
        # A number in text.
        digits = str(rng.choice((*NUMBERS, -1, 0.5, "1e999", "9" * 5000))).encode()
        return data[:at] + digits + data[at + rng.choice((0, 1, 2)) :]
    size = rng.choice((1, 7, 8, 64))
    return data[:at] + (rng.randbytes(size) if rng.random() < 0.5 else b"") + data[at + size :]


def some_bytes(rng: random.Random, data: bytes, other: Callable[[], bytes]) -> bytes:
    """Bytes changed in a fifth of the cases."""
    return change_bytes(rng, data, other()) if rng.random() < 0.2 else data


def change_json(rng: random.Random, value: Any, values: list[Any] | None = None) -> Any:
    """Change something somewhere inside a JSON value; `values` are what it may become."""
    known = JSON_VALUES if values is None else values
    if rng.random() < 0.25 or not isinstance(value, dict | list) or not value:
        if isinstance(value, int) and rng.random() < 0.7:
            return rng.choice([*NUMBERS, value + rng.choice((-64, -1, 1, 64)), -value])
        if isinstance(value, str) and value and rng.random() < 0.5:
            return change_words(rng, value)
        return rng.choice(known)
    if isinstance(value, list):
        index = rng.randrange(len(value))
        action = rng.randrange(10)
        if action == 0:
            return value[:index]
        if action == 1:
            return value + [value[index]] * rng.choice((1, 2, 100))
        return [*value[:index], change_json(rng, value[index], known), *value[index + 1 :]]
    key = rng.choice(list(value))
    action = rng.randrange(10)
    if action == 0:
        return {name: item for name, item in value.items() if name != key}
    if action == 1:
        return value | {rng.choice(["", "__metadata__", "x" * 999, "é", "type"]): value[key]}
    if action == 2:
        return value | {key: value[rng.choice(list(value))]}
    if isinstance(value[key], str) and value[key].startswith("{"):
        try:
            inner = change_json(rng, json.loads(value[key]), known)
            return value | {key: json.dumps(inner)}
        except ValueError:
            return value | {key: value[key][: rng.randrange(len(value[key]))]}
    return value | {key: change_json(rng, value[key], known)}


LETTERS = ("\0", "\ud800", "é", "😀", " ", "\n", '"', "'", "{", "}", "<", "\\")


def change_words(rng: random.Random, text: str) -> str:
    """Change a text at one place."""
    at = rng.randrange(len(text) + 1)
    action = rng.randrange(6)
    if action == 0:
        return text[:at]
    if action == 1:
        return text[:at] + rng.choice(LETTERS) + text[at:]
    if action == 2:
        return text[:at] + text[at:] * rng.choice((2, 20))
    if action == 3:
        return text[:at] + str(rng.choice(NUMBERS)) + text[at + 1 :]
    if action == 4:
        return text[:at] + text[at + rng.choice((1, 4, 16)) :]
    return text.swapcase()


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
        piece = rng.choice((b" ", b"\0", b"\xff", b"\\u0000", b'"', b"{", b"}"))
        return text[:at] + piece + text[at:]
    return text


def pack(files: Mapping[str, bytes]) -> bytes:
    """Several files as one case."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """The files that `pack` has put together."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


class Folders(Fuzzer):
    """A fuzzer whose cases are several files: changes go into one of them."""

    def mutate(self, rng: random.Random, case: Case, other: Case) -> Case:
        """The case with one of its files changed, or one of the other's."""
        files, more = unpack(case.data), unpack(other.data)
        name = rng.choice(list(files))
        if rng.random() < 0.2 and name in more:
            files[name] = more[name]
        elif name.endswith(".json") and rng.random() < 0.7:
            files[name] = changed_document(rng, files[name])
        else:
            files[name] = change_bytes(rng, files[name], more.get(name, b""))
        return Case(case.kind, pack(files))


def changed_document(rng: random.Random, text: bytes) -> bytes:
    """JSON with something in it changed; bytes of it where it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return change_bytes(rng, text, text)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = change_json(rng, value)
    return change_text(rng, json.dumps(value).encode())


def packed(order: str, kind: str, number: int) -> bytes:
    """A number as `struct` packs it, cut to what its type holds."""
    return struct.pack(order + kind, number % 2 ** (8 * struct.calcsize(kind)))
