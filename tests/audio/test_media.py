"""Files that PyAV and the program ffmpeg decode, with either of them."""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.audio import media
from cactus.audio.decode import SAMPLE_RATE, open_audio
from cactus.errors import InvalidAudio, UnsupportedAudio
from tests.audio.sounds import av_file, chirp, encode, similarity

KINDS = [
    ("m4a", "mp4", "aac"), ("fragments.m4a", "mp4", "aac"), ("aac", "adts", "aac"),
    ("webm", "webm", "libopus"), ("mkv", "matroska", "flac"), ("wma", "asf", "wmav2"),
    ("ts", "mpegts", "aac"), ("flv", "flv", "aac"), ("avi", "avi", "pcm_s16le"),
    ("alac.m4a", "ipod", "alac"), ("wv", "wv", "wavpack"), ("flac.oga", "ogg", "flac"),
]  # fmt: skip


@pytest.fixture(params=["av", "ffmpeg"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Only one of the two is installed."""
    if request.param == "av":
        monkeypatch.setattr(shutil, "which", lambda name: None)
    else:
        if shutil.which("ffmpeg") is None:
            pytest.skip("needs the program ffmpeg")
        monkeypatch.setattr(media, "find_spec", lambda name: None)
    return str(request.param)


@pytest.mark.fault("F45")
@pytest.mark.parametrize(("name", "form", "codec"), KINDS, ids=[kind[0] for kind in KINDS])
def test_media_files_are_read(
    name: str, form: str, codec: str, decoder: str, tmp_path: Path, capfd: Any
) -> None:
    fragments = {"movflags": "frag_keyframe+empty_moov"} if "fragments" in name else {}
    sound = chirp(3, 48_000)
    path = av_file(tmp_path / "sound.wav", form, codec, sound, 48_000, **fragments)
    stream = open_audio(path)
    got = stream.read()
    assert stream.notes == []
    assert len(got) == pytest.approx(3 * SAMPLE_RATE, abs=2000)
    assert similarity(got, chirp(3)) > 0.97
    if decoder == "av" and form not in ("adts", "flv"):
        assert stream.duration == pytest.approx(3, abs=0.2)
    with path.open("rb") as file:
        assert np.array_equal(open_audio(io.BytesIO(file.read())).read(), got)
        file.seek(0)
        assert np.array_equal(open_audio(file).read(), got)
    assert capfd.readouterr().err == ""


def test_amr_is_read(decoder: str) -> None:
    stream = open_audio(b"#!AMR\n" + (b"\x04" + bytes(range(12))) * 100)
    assert len(stream.read()) == 2 * SAMPLE_RATE  # from 8 kHz, 20 ms a frame
    assert stream.notes == []


def test_samples_may_become_wider_in_the_middle(decoder: str, tmp_path: Path) -> None:
    parts = [
        av_file(tmp_path / kind, "matroska", "wavpack", chirp(1), SAMPLE_RATE, samples_of=kind)
        for kind in ("s16p", "s32p")
    ]
    got = open_audio(b"".join(path.read_bytes() for path in parts)).read()
    assert len(got) == 2 * SAMPLE_RATE
    assert similarity(got[:SAMPLE_RATE], chirp(1)) > 0.97
    assert similarity(got[SAMPLE_RATE:], chirp(1)) > 0.97


def test_channels_are_averaged_or_one_is_taken(decoder: str, tmp_path: Path) -> None:
    sound = np.stack([chirp(2), np.zeros(2 * SAMPLE_RATE, np.float32)], axis=1)
    path = av_file(tmp_path / "two.mkv", "matroska", "flac", sound, SAMPLE_RATE)
    both, left, right = (open_audio(path, channel).read() for channel in (None, 1, 2))
    np.testing.assert_allclose(left, chirp(2), atol=1e-4)
    np.testing.assert_allclose(both, left / 2, atol=1e-6)
    assert not right.any()


def test_a_file_without_audio_or_with_nothing_in_it_is_named(decoder: str, tmp_path: Path) -> None:
    whole = av_file(tmp_path / "a.m4a", "mp4", "aac", chirp(3), SAMPLE_RATE).read_bytes()
    for data in (whole[:200], b"\0\0\0\x20ftypM4A " + bytes(5000), b"\x1a\x45\xdf\xa3" + bytes(99)):
        with pytest.raises(InvalidAudio, match="cannot be decoded by"):
            open_audio(data)


def test_a_media_file_that_ends_early_has_a_note(decoder: str, tmp_path: Path) -> None:
    data = av_file(tmp_path / "a.mkv", "matroska", "flac", chirp(20), SAMPLE_RATE).read_bytes()
    stream = open_audio(data[: len(data) // 2])
    got = stream.read()
    assert 5 < len(got) / SAMPLE_RATE < 15
    assert len(stream.notes) == 1
    if decoder == "av":
        assert f"ends at {len(got) / SAMPLE_RATE:.1f} s" in stream.notes[0]


def test_damage_is_named_in_words_where_the_decoder_has_a_number_only(tmp_path: Path) -> None:
    data = av_file(tmp_path / "a", "adts", "aac", chirp(3), SAMPLE_RATE).read_bytes()
    stream = open_audio(data + encode(chirp(3), SAMPLE_RATE, "OGG", "VORBIS"))
    stream.read()
    assert "some is left out (its decoder gives no reason)" in stream.notes[0]


@pytest.mark.fault("F45")
@pytest.mark.parametrize("text", ["#EXTM3U\n#EXTINF:1\n/etc/passwd\n", "ffconcat version 1.0\n"])
def test_playlists_are_not_opened(text: str, decoder: str) -> None:
    with pytest.raises(UnsupportedAudio, match="is text"):
        open_audio(text.encode())
    with pytest.raises(InvalidAudio, match="cannot be decoded by"):
        media.open_media(io.BytesIO(text.encode()), "list", [])


def test_ffmpeg_is_ended_with_the_stream_and_its_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the program ffmpeg")
    monkeypatch.setattr(media, "find_spec", lambda name: None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> Any:
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    path = av_file(tmp_path / "long.mka", "matroska", "pcm_s16le", chirp(200), SAMPLE_RATE)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for source in (path, path.read_bytes()):
        stream = open_audio(source)
        next(stream)
        assert started[-1].poll() is None  # it waits for its reader
        stream.close()
        assert started[-1].poll() is not None
        with pytest.raises(StopIteration):
            next(stream)
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
    assert os.listdir(tmp_path) == ["long.mka"]


@pytest.fixture(scope="module")
def lengths(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Files of a minute and of an hour, by their seconds."""
    folder = tmp_path_factory.mktemp("lengths")
    return {
        seconds: av_file(
            folder / f"{seconds}.mka", "matroska", "flac", np.zeros(8_000 * seconds, "f4"), 8_000
        )
        for seconds in (60, 3_600)
    }


@pytest.mark.fault("F47")
def test_hours_need_no_more_memory_than_a_minute(decoder: str, lengths: dict[int, Path]) -> None:
    code = (
        "import resource, sys\n"
        "from cactus.audio import media\n"
        "from cactus.audio.decode import open_audio\n"
        "if sys.argv[2] == 'ffmpeg': media.find_spec = lambda name: None\n"
        "with open_audio(sys.argv[1]) as stream:\n"
        "    for block in stream: pass\n"
        "print(stream.seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
    )
    peaks = []
    for seconds, path in lengths.items():
        done = subprocess.run(
            [sys.executable, "-c", code, path, decoder], capture_output=True, text=True
        )
        assert done.stderr == ""
        length, peak = done.stdout.split()
        assert float(length) == pytest.approx(seconds, abs=0.1)
        peaks.append(int(peak))
    assert peaks[1] - peaks[0] < 20, peaks


@pytest.mark.fault("F45")
def test_an_ffmpeg_that_gives_nothing_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nexec sleep 1000\n")
    program.chmod(0o755)
    monkeypatch.setattr(media, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    monkeypatch.setattr(media, "STALLED_AFTER", 0.2)
    with pytest.raises(InvalidAudio, match=r"ffmpeg gave no audio for 0\.2 s"):
        open_audio(b"\x1a\x45\xdf\xa3" + bytes(99))


def test_wav_with_a_codec_of_its_own_is_read_by_the_others(decoder: str, tmp_path: Path) -> None:
    path = av_file(tmp_path / "mp3.wav", "wav", "libmp3lame", chirp(3), SAMPLE_RATE)
    assert similarity(open_audio(path).read(), chirp(3)) > 0.97


def test_what_is_read_without_them_needs_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise AssertionError("it was asked")

    monkeypatch.setattr(media, "open_media", fail)
    assert len(open_audio(encode(chirp(1), SAMPLE_RATE, "MP3", "MPEG_LAYER_III")).read())


def channels_file(sound: Any) -> io.BytesIO:
    """A CAF file of s16 [frames, channels] that libsndfile does not read."""
    channels = sound.shape[1]
    described = struct.pack(">d4s5I", 16_000.0, b"lpcm", 0, 2, 1, channels, 16)  # a packet is more
    data = bytes(4) + sound.astype(">i2").tobytes()
    file = struct.pack(">4sHH", b"caff", 1, 0)
    for name, chunk in ((b"desc", described), (b"data", data)):
        file += name + struct.pack(">q", len(chunk)) + chunk
    return io.BytesIO(file)


@pytest.mark.fault("F44")
@pytest.mark.parametrize("channels", [65, 162, 1000])
def test_more_channels_than_can_be_converted_are_refused(channels: int, decoder: str) -> None:
    with pytest.raises(InvalidAudio, match=f"{channels} channels of 16,000 Hz|decoded"):
        open_audio(channels_file(np.ones((4000, channels)))).read()


@pytest.mark.fault("F44")
@pytest.mark.parametrize("channels", [2, 8, 9, 16, 44, 64])
def test_each_of_many_channels_is_read(channels: int, decoder: str) -> None:
    sound = np.arange(400)[:, None] + 1000 * np.arange(channels) % 30_000
    if decoder == "av":
        for channel in (1, channels - 1, channels):
            with open_audio(channels_file(sound), channel=channel) as stream:
                got = stream.read()
            wanted = sound[:30, channel - 1] / 32768  # what a packet has
            assert np.array_equal(got[:30], wanted.astype(np.float32))
