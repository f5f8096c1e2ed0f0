"""Files that were joined, cut or damaged: all of their audio, and a note on what is missing."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr

from cactus.audio import media
from cactus.audio.decode import SAMPLE_RATE, open_audio
from cactus.errors import InvalidAudio, UnsupportedAudio
from tests.audio.sounds import av_file, chirp, chunk, encode, fmt, riff, s16

KINDS = [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]


def noise(seconds: float, rate: int = SAMPLE_RATE, channels: int = 1) -> Any:
    """Noise of a level that rises, so that no second is like another."""
    count = round(seconds * rate)
    sound = np.random.default_rng(count).normal(0, 0.1, (count, channels))
    sound *= np.linspace(0.1, 1, count)[:, None]
    return sound.astype(np.float32)


@pytest.mark.parametrize(("container", "coding"), KINDS, ids=["FLAC", "Vorbis", "Opus", "MP3"])
@pytest.mark.parametrize(
    ("rate", "channels"), [(16_000, 1), (24_000, 1), (16_000, 2), (48_000, 2), (48_000, 1)]
)
def test_joined_files_are_read_one_after_the_other(
    container: str, coding: str, rate: int, channels: int, capfd: Any
) -> None:
    first = encode(noise(3), SAMPLE_RATE, container, coding)
    second = encode(noise(5.5, rate, channels), rate, container, coding)
    alone = [open_audio(data) for data in (first, second, first)]
    want = [stream.read() for stream in alone]
    stream = open_audio(first + second + first)
    assert stream.duration == pytest.approx(sum(each.duration or 0 for each in alone), abs=0.01)
    got = stream.read()
    assert stream.notes == []
    assert len(got) == sum(map(len, want))
    np.testing.assert_allclose(got, np.concatenate(want), atol=1e-6)
    assert capfd.readouterr().err == ""


def test_joined_mp3_files_without_tags_and_tables_are_one_file() -> None:
    data = bytearray(encode(noise(4), SAMPLE_RATE, "MP3", "MPEG_LAYER_III"))
    at = data.index(b"Xing")
    data[at : at + 4] = bytes(4)
    once, twice = open_audio(bytes(data)), open_audio(bytes(data) * 2)
    assert len(twice.read()) == pytest.approx(2 * len(once.read()), abs=2000)
    assert twice.notes == once.notes == []


def test_joined_wav_files_are_read_one_after_the_other() -> None:
    def wav(samples: Any, rate: int, *more: bytes) -> bytes:
        return riff(chunk(b"fmt ", fmt(rate=rate)), chunk(b"data", s16(samples)), *more)

    second = chirp(2, 48_000)
    data = wav(chirp(1), SAMPLE_RATE, chunk(b"LIST", b"INFOabc")) + wav(second, 48_000)
    stream = open_audio(data)
    assert stream.duration == 3
    got = stream.read()
    want = np.frombuffer(s16(second), "<i2") / np.float32(32768)
    want = soxr.resample(want, 48_000, SAMPLE_RATE, quality="HQ")
    assert np.array_equal(got[:SAMPLE_RATE], np.frombuffer(s16(chirp(1)), "<i2") / 32768)
    assert np.array_equal(got[SAMPLE_RATE:], want)
    assert stream.notes == []


BUILT_IN = [
    ("WAV", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "PCM_16"),
    ("CAF", "PCM_16"), *KINDS,
]  # fmt: skip


@pytest.mark.parametrize(
    ("container", "coding"), BUILT_IN, ids=[f"{kind}-{coding}" for kind, coding in BUILT_IN]
)
def test_files_of_any_kinds_that_were_joined_are_all_read(container: str, coding: str) -> None:
    first = encode(noise(3), SAMPLE_RATE, container, coding)
    for other in BUILT_IN:
        second = encode(noise(2, 24_000), 24_000, *other)
        alone = [open_audio(data) for data in (first, second, first)]
        want = np.concatenate([stream.read() for stream in alone])
        stream = open_audio(first + second + first)
        assert stream.duration == pytest.approx(sum(each.duration or 0 for each in alone), abs=0.01)
        got = stream.read()
        assert (len(got), stream.notes) == (len(want), []), other
        np.testing.assert_allclose(got, want, atol=1e-6)


MEDIA = {
    "m4a": ("ipod", "aac", {}), "mp4": ("mp4", "aac", {}), "wma": ("asf", "wmav2", {}),
    "fragments": ("mp4", "aac", {"movflags": "frag_keyframe+empty_moov"}),
    "webm": ("webm", "libopus", {}), "live webm": ("webm", "libopus", {"live": "1"}),
    "avi": ("avi", "pcm_s16le", {}),
}  # fmt: skip


@pytest.mark.parametrize("kind", MEDIA)
def test_where_a_media_file_was_joined_a_note_says_what_is_not_read(
    kind: str, tmp_path: Path
) -> None:
    form, codec, options = MEDIA[kind]
    data = av_file(tmp_path / "a", form, codec, chirp(3, 48_000), 48_000, **options).read_bytes()
    want = open_audio(data).read()
    for container, coding in BUILT_IN:
        other = encode(noise(2), SAMPLE_RATE, container, coding)
        for first, second, samples in (
            (data, other, want),
            (other, data, open_audio(other).read()),
        ):
            stream = open_audio(first + second)
            assert np.array_equal(stream.read(), samples)
            assert len(stream.notes) == 1, stream.notes
            assert stream.notes[0].startswith(
                f"audio ends at byte {len(first):,}; the {len(second):,} bytes behind it are not "
                "read: another file was joined there ("
            )


@pytest.mark.parametrize("kind", MEDIA)
def test_two_media_files_of_one_kind_are_both_read_or_there_is_a_note(
    kind: str, tmp_path: Path
) -> None:
    form, codec, options = MEDIA[kind]
    data = av_file(tmp_path / "a", form, codec, chirp(3, 48_000), 48_000, **options).read_bytes()
    stream = open_audio(data * 2)
    seconds = len(stream.read()) / SAMPLE_RATE
    if kind in ("avi", "webm", "live webm"):
        assert seconds == pytest.approx(6, abs=0.1) and stream.notes == []
    else:
        assert seconds == pytest.approx(3, abs=0.1) and len(stream.notes) == 1
        assert f"the {len(data):,} bytes behind it are not read" in stream.notes[0]


def test_w64_ends_where_its_header_says() -> None:
    data = encode(noise(3), SAMPLE_RATE, "W64", "PCM_16")
    stream = open_audio(data + np.random.default_rng(0).bytes(5000))
    assert np.array_equal(stream.read(), open_audio(data).read())
    assert stream.notes == [
        f"audio ends at byte {len(data):,}; the 5,000 bytes behind it are not read: "
        "they are not audio of a known kind"
    ]


@pytest.mark.fault("F43")
@pytest.mark.parametrize(("container", "place"), [("W64", 16), ("AU", 4), ("RF64", 20)])
def test_a_size_of_nothing_in_a_header_ends_no_file(container: str, place: int) -> None:
    data = bytearray(encode(noise(1), SAMPLE_RATE, container, "PCM_16"))
    data[place : place + 8] = bytes(8)
    with contextlib.suppress(UnsupportedAudio):
        assert len(open_audio(bytes(data)).read()) <= 1.01 * SAMPLE_RATE


def test_what_is_joined_and_cannot_be_decoded_is_named() -> None:
    first = encode(noise(3), SAMPLE_RATE, "FLAC", "PCM_16")
    broken = bytearray(encode(noise(3), SAMPLE_RATE, "FLAC", "PCM_16"))
    broken[18:21] = 0, 0, 0x10  # a rate of 1 Hz
    stream = open_audio(first + bytes(broken))
    assert len(stream.read()) == 3 * SAMPLE_RATE
    assert len(stream.notes) == 1
    assert stream.notes[0].startswith("at 3.0 s a part is left out: audio: the sample rate is 1 Hz")


def test_flac_in_ogg_is_named_where_nothing_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "is_available", lambda: False)
    page = b"OggS\0\2" + bytes(20) + b"\1\x33\x7fFLAC\1\0\0\1fLaC" + bytes(38)
    with pytest.raises(UnsupportedAudio, match=r"begins like OGG with FLAC .* or the program ffmp"):
        open_audio(page)


def test_thousands_of_broken_parts_are_summed_up() -> None:
    whole = encode(noise(1), SAMPLE_RATE, "FLAC", "PCM_16")
    part = whole[:8] + b"\x10\0" * 2 + bytes(6) + b"\0\0\x10\xf0" + bytes(20)  # a rate of 1 Hz
    stream = open_audio(whole + 3000 * part)
    assert len(stream.read()) == SAMPLE_RATE
    assert len(stream.notes) == 11
    assert stream.notes[-1] == "audio: 3,000 of 3,001 parts are left out in all"


def test_an_mp3_of_nothing_but_breaks_is_read_in_bounded_time() -> None:
    data = encode(noise(2), SAMPLE_RATE, "MP3", "MPEG_LAYER_III")[1440:]
    size = 144
    broken = b"".join(data[i : i + 5 * size] + b"?" for i in range(0, len(data) - 5 * size, size))
    stream = open_audio(broken * 100)
    assert sum(map(len, stream)) > 100 * SAMPLE_RATE
    assert len(stream.notes) == 11


def test_many_joined_files_are_read() -> None:
    data = encode(noise(0.5), SAMPLE_RATE, "OGG", "OPUS")
    one = len(open_audio(data).read())
    stream = open_audio(data * 200)
    assert sum(map(len, stream)) == 200 * one
    assert stream.notes == []
    assert stream.duration is None  # not all of them are opened beforehand


@pytest.mark.parametrize("channels", [1, 2])
def test_damage_to_a_flac_file_is_silence_of_its_length_and_named(channels: int) -> None:
    sound = noise(30, channels=channels)
    data = bytearray(encode(sound, SAMPLE_RATE, "FLAC", "PCM_16"))
    want = open_audio(bytes(data)).read()
    for place in (len(data) // 4, len(data) // 2):
        data[place : place + 300] = np.random.default_rng(place).bytes(300)
    stream = open_audio(bytes(data))
    got = stream.read()
    assert len(got) == len(want)
    wrong = np.flatnonzero(got != want)
    assert len(wrong) <= 4 * 4096  # of each place, the frames that it touches
    assert not got[wrong].any()
    # Its level says where in the file a sample is: half of the bytes are not half of the time.
    assert [note.partition(" at ")[2].partition(" s")[0] for note in stream.notes] == [
        f"{wrong[0] / SAMPLE_RATE:.1f}",
        f"{wrong[np.flatnonzero(np.diff(wrong) > 9000)[0] + 1] / SAMPLE_RATE:.1f}",
    ]
    assert all("s are taken as silence" in note for note in stream.notes)


def test_damage_to_an_mp3_file_costs_little_and_is_named() -> None:
    data = bytearray(encode(noise(30), SAMPLE_RATE, "MP3", "MPEG_LAYER_III"))
    middle = len(data) // 2
    data[middle : middle + 500] = np.random.default_rng(1).bytes(500)
    stream = open_audio(bytes(data))
    assert len(stream.read()) > 29.5 * SAMPLE_RATE
    assert len(stream.notes) == 1
    assert "is damaged at 1" in stream.notes[0]
    assert "s are taken as silence" in stream.notes[0]


def test_damage_everywhere_ends_and_is_summed_up() -> None:
    data = bytearray(encode(noise(60), SAMPLE_RATE, "FLAC", "PCM_16"))
    for place in range(10_000, len(data), 20_000):
        data[place : place + 20] = bytes(20)
    stream = open_audio(bytes(data))
    assert len(stream.read()) == 60 * SAMPLE_RATE
    assert len(stream.notes) == 11
    assert "and at other places behind it" in stream.notes[-1]


def test_a_file_that_ends_early_is_read_to_there_and_the_second_is_named() -> None:
    data = encode(noise(20), SAMPLE_RATE, "FLAC", "PCM_16")
    stream = open_audio(data[: len(data) * 3 // 4])
    seconds = len(stream.read()) / SAMPLE_RATE
    assert (
        f"ends at {seconds:.1f} s, {20 - seconds:.1f} s before its header's end"
        in (stream.notes[-1])
    )


@pytest.mark.parametrize(("container", "coding"), KINDS, ids=["FLAC", "Vorbis", "Opus", "MP3"])
@pytest.mark.parametrize("magic", [b"TAG", b"APETAGEX"])
def test_a_tag_behind_the_audio_costs_nothing_of_it(
    container: str, coding: str, magic: bytes
) -> None:
    whole, tag = encode(noise(1.03), SAMPLE_RATE, container, coding), magic.ljust(128, b"\0")
    with open_audio(whole) as plain, open_audio(whole + tag) as tagged:
        assert np.array_equal(np.concatenate(list(plain)), np.concatenate(list(tagged)))
        assert tagged.notes == []


@pytest.mark.parametrize("before", [4096, 1, 60_000])
def test_an_mp3_behind_other_bytes_is_found_by_its_frames(before: int) -> None:
    data = encode(noise(3), SAMPLE_RATE, "MP3", "MPEG_LAYER_III")
    want = open_audio(data).read()
    for filler in (bytes(before), np.random.default_rng(0).bytes(before)):
        stream = open_audio(filler + data)
        assert np.array_equal(stream.read(), want)
        assert stream.notes == []


@pytest.mark.fault("F45")
def test_random_damage_to_joined_files_is_audio_or_an_error_of_ours() -> None:
    random = np.random.default_rng(5)
    files = [encode(chirp(1), 24_000, *kind) for kind in KINDS]
    for _, (first, second) in zip(range(60), itertools.cycle(itertools.product(files, repeat=2))):
        data = bytearray(first + second)
        for _ in range(10):
            data[random.integers(0, len(data))] = random.integers(0, 256)
        try:
            got = open_audio(bytes(data)).read()
        except InvalidAudio as error:
            assert len(str(error)) < 600
        else:
            assert np.isfinite(got).all()
