"""Decoding: every format gives the same samples, and damaged or lying files do no harm."""

from __future__ import annotations

import gc
import io
import itertools
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from cactus.audio import media
from cactus.audio.decode import BLOCK, SAMPLE_RATE, open_audio, open_pcm
from cactus.errors import CactusError, InvalidAudio, InvalidRequest, UnsupportedAudio
from tests.audio.sounds import FORMATS, chirp, chunk, encode, fmt, riff, s16, silent_wav, similarity

LOSSLESS = {"PCM_16": 2**-15, "PCM_24": 2**-23, "PCM_32": 2**-24, "FLOAT": 0.0, "DOUBLE": 0.0}


# Formats


@pytest.mark.fault("F44")
@pytest.mark.parametrize(("container", "coding"), FORMATS, ids="-".join)
def test_every_format_is_the_same_sound(container: str, coding: str) -> None:
    want = chirp(1.5)
    stream = open_audio(encode(want, SAMPLE_RATE, container, coding))
    assert stream.duration == pytest.approx(1.5, abs=0.1)
    got = stream.read()
    assert got.dtype == np.float32
    if coding in LOSSLESS:
        assert len(got) == len(want)
        assert np.abs(got - want).max() <= LOSSLESS[coding]
    else:
        assert similarity(got, want) > 0.98
    assert stream.notes == []
    assert stream.seconds == len(got) / SAMPLE_RATE


@pytest.mark.fault("F44")
@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_every_rate_is_resampled_as_if_in_one_piece(rate: int) -> None:
    sound = chirp(3.3, rate)
    got = open_audio(encode(sound, rate, "WAV", "FLOAT")).read()
    assert np.array_equal(got, soxr.resample(sound, rate, SAMPLE_RATE, quality="HQ"))
    assert similarity(got, chirp(3.3)) > 0.99


@pytest.mark.fault("F44")
@pytest.mark.parametrize("channels", [2, 6, 32])
def test_channels_are_averaged(channels: int) -> None:
    sound = np.stack([chirp(2) * (index + 1) / channels for index in range(channels)], axis=1)
    got = open_audio(encode(sound, SAMPLE_RATE, "WAV", "FLOAT")).read()
    np.testing.assert_allclose(got, sound.mean(axis=1), atol=1e-6)


def test_a_channel_is_taken_on_its_own_and_another_is_refused() -> None:
    sound = np.stack([chirp(1), 0.5 * chirp(1), 0 * chirp(1)], axis=1)
    data = encode(sound, SAMPLE_RATE, "WAV", "FLOAT")
    assert open_audio(data).channels == 3
    for channel in (1, 2, 3):
        assert np.array_equal(open_audio(data, channel).read(), sound[:, channel - 1])
    for channel in (0, 4, -1):
        with pytest.raises(InvalidAudio, match=f"channel must be 1 to 3, got {channel}"):
            open_audio(data, channel)


@pytest.mark.fault("F45")
def test_compressed_formats_are_the_same_in_pieces_as_whole() -> None:
    for container, coding in (("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("FLAC", "PCM_16")):
        data = encode(chirp(9), SAMPLE_RATE, container, coding)
        whole, _ = soundfile.read(io.BytesIO(data), dtype="float32")
        got = open_audio(data).read()
        # Where an MP3 file says it ends is not believed: what the encoder filled up comes, too.
        assert 0 <= len(got) - len(whole) < 1152
        np.testing.assert_allclose(got[: len(whole)], whole, atol=1e-6)


@pytest.mark.fault("F45")
def test_the_content_counts_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp3"
    path.write_bytes(encode(chirp(1), SAMPLE_RATE, "FLAC", "PCM_16"))
    assert len(open_audio(path).read()) == SAMPLE_RATE


# Sources


def test_a_path_bytes_and_file_objects_are_the_same(tmp_path: Path) -> None:
    data = encode(chirp(2.5), SAMPLE_RATE, "OGG", "VORBIS")
    path = tmp_path / "a b é.ogg"
    path.write_bytes(data)
    want = open_audio(data).read()
    with path.open("rb") as file:
        file.read(100)  # it is read from its beginning
        assert np.array_equal(open_audio(file).read(), want)
        assert not file.closed
    assert np.array_equal(open_audio(path).read(), want)
    assert np.array_equal(open_audio(str(path)).read(), want)
    assert np.array_equal(open_audio(bytearray(data)).read(), want)
    assert np.array_equal(open_audio(io.BytesIO(data)).read(), want)
    assert np.array_equal(open_audio(Pipe(data)).read(), want)


class Pipe:
    """A file object that can only be read, as a socket or standard input."""

    def __init__(self, data: bytes, step: int = 1000) -> None:
        self.data, self.step = data, step

    def read(self, size: int = -1) -> bytes:
        size = self.step if size < 0 else min(size, self.step)
        piece, self.data = self.data[:size], self.data[size:]
        return piece


class Broken(io.BytesIO):
    """A file object whose device fails after the first 4096 bytes."""

    last = 4096

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= self.last:
            raise OSError("the device is gone")
        return super().read(min(size, 1024) if size and size > 0 else 1024)


def test_a_file_object_that_fails_is_named_and_leaves_no_trace_on_stderr(capfd: Any) -> None:
    for container in ("WAV", "FLAC"):
        data = encode(chirp(3), SAMPLE_RATE, container, "PCM_16")
        with pytest.raises(InvalidAudio, match="the device is gone"):
            open_audio(Broken(data)).read()
    assert capfd.readouterr().err == ""


@pytest.mark.fault("F44")
@pytest.mark.parametrize("container", ["WAV", "FLAC", "MP3"])
@pytest.mark.parametrize("blocks", [0, 1])
def test_a_file_object_that_fails_later_is_named_and_let_go_of(container: str, blocks: int) -> None:
    codings = {"WAV": "PCM_16", "FLAC": "PCM_16", "MP3": "MPEG_LAYER_III"}
    file = Broken(encode(chirp(9), SAMPLE_RATE, container, codings[container]))
    left, file.last = weakref.ref(file), 1 << 30
    stream = open_audio(file)
    for _ in range(blocks):
        next(stream)
    file.last = 0
    gc.disable()
    try:
        with suppress(InvalidAudio):
            raise AssertionError(f"there were {stream.read()}, {stream.notes}")
        del file, stream
        assert left() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("", "path of the audio file is empty"),
        ("nowhere.wav", '"nowhere.wav": no such file'),
        ("a\0b", "null byte"),
        ("x" * 5000, "cannot be opened"),
        ("https://example.org/a.wav", "is a URL; download it first"),
        ("/", "is a directory"),
        ("/dev/zero", "is a pipe or a device"),
        (None, "is NoneType, expected a path, bytes or"),
        (7, "is int, expected"),
        (io.StringIO("RIFF"), 'open it with mode "rb"'),
        (b"", "is empty; expected an audio file"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_cannot_be_read_is_named(source: Any, match: str) -> None:
    with pytest.raises(InvalidAudio, match=match) as caught:
        open_audio(source)
    assert len(str(caught.value)) < 600


@pytest.mark.fault("F20")
def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InvalidAudio, match="is a pipe"):
        open_audio(tmp_path / "fifo")


def test_the_file_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(encode(chirp(5), 8000, "WAV", "PCM_16"))
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("needs /proc")
    before = len(list(descriptors.iterdir()))
    streams = [open_audio(path) for _ in range(3)]
    next(streams[0])
    streams[0].close()
    streams[0].close()
    with streams[1]:
        pass
    streams[2].read()
    path.write_bytes(b"RIFF\0\0\0\0WAVE")
    with pytest.raises(InvalidAudio):
        open_audio(path)
    assert len(list(descriptors.iterdir())) == before


# Empty, short and lying files


def wav(samples: bytes, riff_size: int | None = None, data_size: int | None = None) -> bytes:
    return riff(chunk(b"fmt ", fmt()), chunk(b"data", samples, data_size), size=riff_size)


SOUND = s16(chirp(0.5))


@pytest.mark.fault("F43")
@pytest.mark.parametrize(
    "data",
    [
        wav(SOUND, 0, 0),
        wav(SOUND, None, 0),
        wav(SOUND, 0xFFFFFFFF, 0xFFFFFFFF),
        wav(SOUND, 0x7FFFFFFF, 0x7FFFFFFF - 36),
        riff(chunk(b"data", SOUND), chunk(b"fmt ", fmt())),
        riff(chunk(b"LIST", b"abc"), chunk(b"fmt ", fmt()), chunk(b"data", SOUND)),
        riff(chunk(b"LIST", b"abc", pad=False), chunk(b"fmt ", fmt()), chunk(b"data", SOUND)),
        riff(chunk(b"fmt ", fmt() + b"\0\0"), chunk(b"fact", bytes(4)), chunk(b"data", SOUND)),
        wav(SOUND) + b"ID3 and other things that were appended",
    ],
    ids=["0", "data 0", "-1", "2 GiB", "data first", "odd", "odd without padding", "long", "tail"],
)
def test_lying_wav_headers_are_seen_through(data: bytes) -> None:
    stream = open_audio(data)
    assert stream.duration == 0.5
    assert np.array_equal(stream.read(), np.frombuffer(SOUND, "<i2") / np.float32(32768))
    assert stream.notes == []


@pytest.mark.fault("F43")
@pytest.mark.parametrize("count", [0, 1, 160])
def test_short_audio_is_decoded(count: int) -> None:
    for data in (wav(SOUND[: 2 * count]), wav(SOUND[: 2 * count]) + b""):
        assert len(open_audio(data).read()) == count
    other = riff(chunk(b"fmt ", fmt(rate=44_100)), chunk(b"data", SOUND[: 2 * count]))
    assert len(open_audio(other).read()) == round(count * 16 / 44.1)


@pytest.mark.fault("F43")
def test_what_follows_an_empty_data_chunk_is_not_audio() -> None:
    data = riff(chunk(b"fmt ", fmt()), chunk(b"data", b""), chunk(b"LIST", b"INFOISFT" * 9))
    assert open_audio(data).read().size == 0


@pytest.mark.fault("F43")
@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"RIFF", "RIFF file of the kind"),
        (b"RIFF\0\0\0\0WAVE", "without a whole format chunk"),
        (riff(chunk(b"fmt ", fmt())), "without a data chunk"),
        (riff(chunk(b"fmt ", fmt()[:10]), chunk(b"data", SOUND)), "without a whole format chunk"),
        (riff(chunk(b"fmt ", fmt(), 0xFFFFFFF0), chunk(b"data", SOUND)), "claims 4294967280 byt"),
        (riff(chunk(b"LIST", b"", 0xFFFFFFFF), chunk(b"data", SOUND)), "without a whole format"),
        (b"fLaC", "begins like FLAC and cannot be decoded"),
        (b"fLaC" + bytes(range(256)) * 9, "begins like FLAC"),
        (b"OggS" + bytes(range(256)) * 9, "begins like OGG"),
        (b"ID3\x03\0\0\0\0\0\x10" + bytes(99), "begins like MP3"),
    ],
    ids=range(10),
)
def test_headers_without_audio_are_refused(data: bytes, match: str) -> None:
    with pytest.raises(InvalidAudio, match=match):
        open_audio(data)


@pytest.mark.fault("F43")
@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3"])
def test_half_a_file_gives_its_half_and_a_note(container: str) -> None:
    coding = {"OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}.get(container, "PCM_16")
    noise = np.random.default_rng(0).normal(0, 0.1, 40 * SAMPLE_RATE).astype(np.float32)
    data = encode(noise, SAMPLE_RATE, container, coding)
    stream = open_audio(data[: len(data) // 2])
    half = stream.read()
    assert 17 < len(half) / SAMPLE_RATE < 22
    # An OGG file says nowhere how long it is.
    assert len(stream.notes) == (container != "OGG")
    assert all("cut off or damaged" in note for note in stream.notes)


# Sample formats


@pytest.mark.fault("F44")
@pytest.mark.parametrize("rate", [0, 1, 999, 768_001, 2**31 - 1, 2**31, 2**32 - 1])
def test_impossible_sample_rates_are_refused(rate: int) -> None:
    data = riff(chunk(b"fmt ", fmt(rate=rate)), chunk(b"data", SOUND))
    with pytest.raises(InvalidAudio, match=rf"sample rate is {rate:,} Hz, expected 1,000 to 768"):
        open_audio(data)


@pytest.mark.fault("F44")
@pytest.mark.parametrize(
    "content",
    [fmt(channels=0), fmt(channels=65_535), fmt(bits=0), fmt(coding=0x1234), fmt(coding=0x55)],
    ids=["no channels", "65535 channels", "0 bits", "unknown coding", "mp3 in wav"],
)
def test_impossible_sample_formats_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidAudio, match="cannot be decoded"):
        open_audio(riff(chunk(b"fmt ", content), chunk(b"data", SOUND)))


# Other kinds of files


@pytest.mark.fault("F45")
@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"some words, one after the other", "is text, beginning with 'some words"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(99), "is a JPEG picture"),
        (b"\x89PNG\r\n\x1a\n" + bytes(99), "is a PNG picture"),
        (b"\0\0\0\x20ftypM4A \0\0" + bytes(99), "is an MP4, M4A or QuickTime file"),
        (b"\x1a\x45\xdf\xa3" + bytes(99), "is a WebM or Matroska file"),
        (b"\xff\xf1\x50\x80" + bytes(99), "is an AAC stream"),
        (b"PK\x03\x04" + bytes(99), "is a ZIP archive"),
        (b"\n <!DOCTYPE html><html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"RIFF\0\0\0\0AVI LIST", "is an AVI video"),
        (bytes(5000), "nothing but zero bytes"),
        (b"\x01\x02\x03", "begins with"),
        (np.random.default_rng(3).bytes(5000), "not an audio file that is known here"),
    ],
    ids=range(13),
)
def test_other_files_are_named_and_the_supported_ones_listed(
    data: bytes, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(media, "is_available", lambda: False)
    with pytest.raises(UnsupportedAudio, match=match) as caught:
        open_audio(data)
    assert "are WAV, FLAC, OGG" in str(caught.value)
    assert "pip install 'cactus[av]') or the program ffmpeg" in str(caught.value)
    assert isinstance(caught.value, InvalidRequest)


def varied_mp3() -> bytearray:
    """Twenty seconds of MP3 with a variable bitrate: ten of near silence, ten of noise."""
    noise = np.random.default_rng(0).normal(0, 0.2, 20 * SAMPLE_RATE).astype(np.float32)
    noise[: 10 * SAMPLE_RATE] *= 1e-3
    return bytearray(encode(noise, SAMPLE_RATE, "MP3", "MPEG_LAYER_III"))


@pytest.mark.fault("F45")
@pytest.mark.parametrize("frames", [0, 1, 10, 10**6, 2**32 - 1])
@pytest.mark.parametrize("tag", [b"", b"ID3\x04\0\0\0\0\x02\x05" + bytes(261)], ids=["", "ID3"])
def test_an_mp3_whose_table_lies_about_its_length_is_read_whole(frames: int, tag: bytes) -> None:
    data = varied_mp3()
    want = open_audio(bytes(data)).read()
    at = data.index(b"Xing")
    data[at + 8 : at + 12] = frames.to_bytes(4, "big")
    assert np.array_equal(open_audio(tag + bytes(data)).read(), want)


def test_an_mp3_without_a_table_is_read_to_its_end() -> None:
    data = varied_mp3()
    at = data.index(b"Xing")
    data[at : at + 4] = bytes(4)
    stream = open_audio(bytes(data))
    assert stream.duration is not None
    assert len(stream.read()) == pytest.approx(20 * SAMPLE_RATE, abs=3000)


# Sample values


@pytest.mark.fault("F46")
def test_single_impossible_samples_are_repaired() -> None:
    sound = chirp(2)
    sound[100:103] = np.nan, np.inf, -np.inf
    sound[200], sound[300], sound[400] = 1e30, -1e30, 1.5
    for stream in (open_audio(encode(sound, SAMPLE_RATE, "WAV", "FLOAT")), open_pcm(sound)):
        got = stream.read()
        assert list(got[[100, 101, 102, 200, 300, 400]]) == [0, 0, 0, 1, -1, 1]
        rest = np.delete(np.arange(len(sound)), [100, 101, 102, 200, 300, 400])
        assert np.array_equal(got[rest], sound[rest])
        assert stream.notes == ["audio: 3 samples are not numbers; they were taken as silence"]


@pytest.mark.fault("F46")
def test_f64_beyond_f32_is_repaired() -> None:
    sound = chirp(1).astype(np.float64)
    sound[5] = 1e300
    assert open_pcm(sound).read()[5] == 0
    data = encode(sound, SAMPLE_RATE, "WAV", "DOUBLE")
    assert open_audio(data).read()[5] == 0


@pytest.mark.fault("F46")
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, -1e30])
def test_nothing_but_impossible_samples_is_an_error(value: float) -> None:
    sound = np.full(SAMPLE_RATE, value, np.float32)
    for stream in (open_pcm(sound), open_audio(encode(sound, SAMPLE_RATE, "WAV", "FLOAT"))):
        with pytest.raises(InvalidAudio, match=r"16,000 of 16,000 samples lie beyond ±2 or are"):
            stream.read()


def test_sixteen_bit_values_kept_as_floats_are_an_error_early_in_a_long_file() -> None:
    noise = np.random.default_rng(0).normal(0, 3000, 100 * SAMPLE_RATE).astype(np.float32)
    stream = open_pcm(noise)
    with pytest.raises(InvalidAudio, match="divided by 32768"):
        stream.read()
    assert 25 < stream.seconds < 40


@pytest.mark.fault("F46")
def test_silence_and_an_offset_stay_what_they_are() -> None:
    for value in (0.0, 0.25, 1.0, -1.0):
        got = open_pcm(np.full(2 * SAMPLE_RATE, value, np.float32)).read()
        assert (got == value).all()


# Raw samples


def test_raw_samples_in_every_form_are_the_same() -> None:
    codes = np.frombuffer(s16(chirp(2.2)), "<i2")
    want = codes / np.float32(32768)
    forms: list[Any] = [
        codes.tobytes(),
        bytearray(codes.tobytes()),
        memoryview(codes),
        codes,
        codes.astype(np.int32) << 16,
        want,
        want.astype(np.float64),
        want.tolist(),
        np.repeat(want, 2)[::2],
        want[:, None],  # as a sound card's callback gives it
        codes[:, None],
        io.BytesIO(codes.tobytes()),
        Pipe(codes.tobytes(), 777),
    ]
    for form in forms:
        stream = open_pcm(form)
        assert np.array_equal(stream.read(), want)
        assert stream.notes == []


def test_raw_samples_of_another_rate() -> None:
    sound = chirp(2, 48_000)
    want = soxr.resample(sound, 48_000, SAMPLE_RATE, quality="HQ")
    assert np.array_equal(open_pcm(sound, 48_000).read(), want)


@pytest.mark.parametrize(
    ("samples", "match"),
    [
        (b"123", "3 bytes: expected 16-bit samples"),
        (np.zeros((2, 10), np.float32), r"shape \[2, 10\], expected \[samples\]"),
        (np.zeros(5, np.uint8), "array of uint8, expected float"),
        (np.zeros(5, np.complex64), "array of complex64"),
        (np.array(["a"]), "array of <U1"),
        ([[1.0], [1.0, 2.0]], "not an array of samples"),
        (object(), "audio is object, expected"),
        (None, "audio is NoneType, expected"),
    ],
    ids=range(8),
)
def test_raw_samples_that_are_none(samples: Any, match: str) -> None:
    with pytest.raises(InvalidAudio, match=match):
        open_pcm(samples)


def test_a_raw_stream_that_ends_within_a_sample_or_gives_text() -> None:
    stream = open_pcm(io.BytesIO(b"\1\0\2\0\3"))
    assert list(stream.read() * 32768) == [1, 2]
    assert stream.notes == ["raw audio ends in the middle of a 16-bit sample"]
    with pytest.raises(InvalidAudio, match="gives str, expected bytes"):
        open_pcm(io.StringIO("text")).read()


def test_a_live_stream_gives_a_block_as_soon_as_it_is_there() -> None:
    given: list[int] = []

    class Live:
        def read1(self, size: int) -> bytes:
            given.append(size)
            return bytes(3200)

    stream = open_pcm(LiveWithRead(Live()))
    next(stream)
    assert len(given) == 10  # a tenth of a second each


class LiveWithRead:
    """Gives `read` as well, which a live source must not be asked for."""

    def __init__(self, inner: Any) -> None:
        self.read1 = inner.read1

    def read(self, size: int) -> bytes:
        raise AssertionError("read waits until all of it is there")


# Blocks and memory


@given(st.lists(st.integers(0, 40_000), max_size=6))
def test_blocks_have_one_length_but_the_last(sizes: list[int]) -> None:
    from cactus.audio.stream import _reblock

    whole = np.arange(sum(sizes), dtype=np.float32)
    cuts = np.cumsum([0, *sizes])
    pieces: Iterator[Any] = (whole[a:b] for a, b in itertools.pairwise(cuts))
    blocks = list(_reblock(pieces))
    assert all(len(block) == BLOCK for block in blocks[:-1])
    assert all(0 < len(block) <= BLOCK for block in blocks)
    joined = np.concatenate(blocks) if blocks else np.zeros(0)
    assert np.array_equal(joined, whole)


@pytest.mark.fault("F47")
def test_hours_need_no_more_memory_than_a_minute(tmp_path: Path) -> None:
    code = (
        "import resource, sys\n"
        "from cactus.audio.decode import open_audio\n"
        "seconds = 0\n"
        "with open_audio(sys.argv[1]) as stream:\n"
        "    for block in stream: pass\n"
        "print(stream.seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
    )
    peaks = []
    for seconds in (60, 7_200):
        path = silent_wav(tmp_path / f"{seconds}.wav", seconds)
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
        assert done.stderr == ""
        length, peak = done.stdout.split()
        assert float(length) == pytest.approx(seconds)
        peaks.append(int(peak))
    assert peaks[1] - peaks[0] < 20, peaks


@pytest.mark.fault("F43")
def test_more_than_four_gigabytes_of_samples_are_all_found(tmp_path: Path) -> None:
    size = 2**32 + 16_000
    path = silent_wav(tmp_path / "long.wav", size // 16_000, size % 2**32)
    with path.open("r+b") as file:
        file.seek(4)
        file.write((path.stat().st_size - 8 & 0xFFFFFFFF).to_bytes(4, "little"))
    with open_audio(path) as stream:
        assert stream.duration == size // 16_000


def test_every_error_is_one_of_ours() -> None:
    """Random damage to real files: a sound, or `InvalidAudio`, and nothing else."""
    random = np.random.default_rng(11)
    seeds = [encode(chirp(1.2), 48_000, *kind) for kind in FORMATS]
    seeds.append(wav(SOUND))
    for index in range(600):
        data = bytearray(seeds[index % len(seeds)])
        for _ in range(random.integers(1, 8)):
            at = int(random.integers(0, min(len(data), (64, 400, len(data))[index % 3])))
            data[at] = random.integers(0, 256)
        if index % 5 == 0:
            del data[random.integers(0, len(data)) :]
        try:
            got = open_audio(bytes(data)).read()
        except CactusError as error:
            assert isinstance(error, InvalidAudio), error
            assert len(str(error)) < 500
        else:
            assert np.isfinite(got).all()
            assert np.abs(got).max(initial=0) <= 2  # resampling overshoots
