"""Audio files of every container, decoded to the end.

Lengths, rates, channels, codings and offsets in headers are changed, frames and pages are dropped,
doubled or moved, files are joined. What is accepted must be blocks of finite f32, as long as they
are said to be, and the same from a file object that gives a few bytes at a time.
"""

from __future__ import annotations

import io
import random
import struct
from itertools import islice
from pathlib import Path

import numpy as np

from cactus.audio.decode import BLOCK, F32, open_audio
from cactus.errors import InvalidAudio
from fuzzers.base import NUMBERS, Case, Fuzzer, change_bytes, packed
from tests.audio.sounds import FORMATS, av_file, chirp, chunk, encode, fmt, riff, s16

MOST_BLOCKS = 120
"""Seconds that are decoded of one file: a few bytes of FLAC can stand for hours."""

MEDIA = (("mp4", "aac"), ("matroska", "aac"), ("webm", "libopus"), ("adts", "aac"), ("avi", "mp2"))


def seeds(scratch: Path) -> dict[str, list[bytes]]:
    """Short sounds in every format."""
    found: dict[str, list[bytes]] = {}
    sound = chirp(0.3)
    both = np.stack([sound, sound[::-1]], 1)
    for container, coding in FORMATS:
        rate = 48_000 if coding == "OPUS" else 16_000
        many = found.setdefault(container.lower().removesuffix("ex"), [])
        many.append(encode(sound, rate, container, coding))
        if coding.startswith(("PCM_16", "VORBIS", "MPEG")):
            many.append(encode(both, rate, container, coding))
    for form, codec in MEDIA:
        path = scratch / f"sound.{form}"
        try:
            av_file(path, form, codec, sound, 16_000 if codec != "libopus" else 48_000)
        except Exception:
            continue  # this PyAV cannot write it
        found.setdefault("media", []).append(path.read_bytes())
    return found


def wav(rng: random.Random, all_seeds: list[bytes]) -> bytes:
    """A WAV file with any header."""
    coding = rng.choice((1, 1, 3, 6, 7, 17, 2, 0x31, 0xFFFE, 0x55, rng.randrange(65536)))
    channels = rng.choice((0, 1, 1, 2, 6, 255, 65535))
    rate = rng.choice((0, 1, 999, 8000, 16_000, 44_100, 768_001, 2**31, 2**32 - 1))
    bits = rng.choice((0, 1, 8, 16, 16, 24, 32, 64, 65535))
    extra = rng.choice((b"", b"\0\0", rng.randbytes(24)))
    data = rng.choice((s16(chirp(0.2)), rng.randbytes(999), b"", bytes(4000)))
    size = rng.choice((None, None, *NUMBERS))
    parts = [
        chunk(b"fmt ", fmt(coding, channels, rate, bits, extra)),
        chunk(b"data", data, None if size is None else size % 2**32),
    ]
    for _ in range(rng.choice((0, 1, 2))):
        kind = rng.choice((b"LIST", b"fact", b"ds64", b"fmt ", b"data", b"junk", b"\0\0\0\0"))
        claimed = rng.choice((None, *NUMBERS))
        body = rng.randbytes(rng.choice((0, 3, 28)))
        made = chunk(kind, body, None if claimed is None else claimed % 2**32)
        parts.insert(rng.randrange(3), made)
    whole = rng.choice((None, None, *NUMBERS))
    return riff(*parts, size=None if whole is None else whole % 2**32)


CRC = [0] * 256
for _number in range(256):
    _value = _number << 24
    for _ in range(8):
        _value = (_value << 1 ^ (0x04C11DB7 if _value >> 31 else 0)) & 0xFFFFFFFF
    CRC[_number] = _value


def ogg_pages(data: bytes) -> list[bytes]:
    """The pages of an Ogg file."""
    return [b"OggS" + part for part in data.split(b"OggS")[1:]]


def with_sum(page: bytes) -> bytes:
    """A page with the right checksum."""
    if len(page) < 27:
        return page
    page, value = page[:22] + bytes(4) + page[26:], 0
    for byte in page:
        value = (value << 8 ^ CRC[value >> 24 ^ byte]) & 0xFFFFFFFF
    return page[:22] + struct.pack("<I", value) + page[26:]


def ogg(rng: random.Random, all_seeds: list[bytes]) -> bytes:
    """Pages dropped, doubled, moved, of another file, or changed in their fields."""
    pages = ogg_pages(rng.choice(all_seeds))
    others = ogg_pages(rng.choice(all_seeds))
    for _ in range(rng.choice((1, 2, 3))):
        at = rng.randrange(len(pages))
        action = rng.randrange(6)
        if action == 0 and len(pages) > 1:
            del pages[at]
        elif action == 1:
            pages.insert(at, rng.choice(others))
        elif action == 2:
            other = rng.randrange(len(pages))
            pages[at], pages[other] = pages[other], pages[at]
        elif action == 3:
            place, kind = rng.choice(
                ((4, "B"), (5, "B"), (6, "Q"), (14, "I"), (18, "I"), (26, "B"))
            )
            value = packed("<", kind, rng.choice(NUMBERS))
            pages[at] = with_sum(pages[at][:place] + value + pages[at][place + len(value) :])
        else:
            pages[at] = with_sum(pages[at][:27] + change_bytes(rng, pages[at][27:], others[0][27:]))
    return b"".join(pages)


class Fuzz(Fuzzer):
    """Audio files."""

    errors = (InvalidAudio,)
    cpu_seconds = 4.0

    def __init__(self, scratch: Path) -> None:
        self.seeds = seeds(scratch)
        for many in self.seeds.values():
            for data in many:
                decoded(io.BytesIO(data))

    def make(self, rng: random.Random) -> Case:
        """A damaged file."""
        kind = rng.choice(list(self.seeds))
        many = self.seeds[kind]
        if kind == "wav" and rng.random() < 0.4:
            data = wav(rng, many)
        elif kind == "ogg" and rng.random() < 0.7:
            data = ogg(rng, many)
        else:
            data = rng.choice(many)
        if rng.random() < 0.6:
            data = change_bytes(rng, data, rng.choice(many))
        if rng.random() < 0.1:
            data += rng.choice(self.seeds[rng.choice(list(self.seeds))])
        return Case(kind, data[: 1 << 20])

    def run(self, case: Case) -> None:
        """Decode it as bytes, and once more as a file that is read in small pieces."""
        blocks = decoded(io.BytesIO(case.data))
        if case.chance().random() < 0.3:
            again = decoded(Few(case.data))
            assert len(again) == len(blocks) and all(map(np.array_equal, again, blocks))


class Few(io.BytesIO):
    """A file that gives less than is asked for, as pipes and sockets do."""

    def read(self, size: int | None = -1) -> bytes:
        """At most 1,000 bytes."""
        return super().read(1000 if size is None or size < 0 or size > 1000 else size)


def decoded(source: io.BytesIO) -> list[F32]:
    """The blocks of a file, checked."""
    stream = open_audio(source)
    try:
        blocks = list(islice(stream, MOST_BLOCKS))
    finally:
        stream.close()
    assert stream.channels >= 1 and (stream.duration is None or stream.duration >= 0)
    for block in blocks:
        assert block.dtype == np.float32 and 0 < len(block) <= BLOCK and np.isfinite(block).all()
    assert all(len(block) == BLOCK for block in blocks[:-1])
    assert all(len(note) < 2000 for note in stream.notes)
    return blocks
