"""Files told from raw samples by how they begin."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from cactus.audio.formats import looks_like_a_file

WAVES = np.rint(9000 * np.sin(np.arange(16_000) / 9)).astype("<i2")


def written(form: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, WAVES, 16_000, format=form, subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64", "RF64"])
def test_what_is_read_is_a_file(form: str) -> None:
    assert looks_like_a_file(written(form)[:4096])


def test_an_mp3_without_tags_is_known_by_its_second_frame() -> None:
    data = written("MP3")
    bare = data[data.index(b"\xff", 1) :] if data.startswith(b"ID3") else data
    assert looks_like_a_file(bare[:4096])
    assert not looks_like_a_file(bare[:40] + bytes(4000))


@pytest.mark.parametrize(
    "head", [b"", b"hello\n", b"\x1a\x45\xdf\xa3webm", b"\0\0\0\x20ftypM4A ", b"<html>", b"%PDF-1"]
)
def test_what_is_not_read_is_a_file_too(head: bytes) -> None:
    assert looks_like_a_file(head)


@pytest.mark.parametrize("first", [0, -1, 1, -32, 255, -8193, 32767, -32768])
def test_samples_are_none(first: int) -> None:
    assert not looks_like_a_file(np.full(2048, first, "<i2").tobytes())
    assert not looks_like_a_file(np.append(first, WAVES).astype("<i2").tobytes()[:4096])


def test_noise_is_none() -> None:
    noise = np.random.default_rng(5)
    for scale in (1, 3, 30, 300, 3000):
        for _ in range(50):
            quiet = np.rint(scale * noise.standard_normal(2048)).astype("<i2")
            assert not looks_like_a_file(quiet.tobytes())
