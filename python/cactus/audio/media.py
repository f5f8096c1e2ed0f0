"""What the built-in decoders do not read: by PyAV if it is installed, else by the program ffmpeg.

Both are given the formats that were recognised and no others, and no protocol but local files:
a playlist or a description of a stream would otherwise make them open whatever it names.
"""

from __future__ import annotations

import os
import select
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import IO, Any

import numpy as np

from cactus.audio.stream import F32, PIECE, Part
from cactus.errors import InvalidAudio
from cactus.inputs.text import reason_of

DEMUXERS = (
    "aac,ac3,amr,amrnb,amrwb,ape,asf,au,avi,caf,dsf,eac3,flac,flv,live_flv,matroska,webm,mov,mp4,"
    "m4a,3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,ogg,rm,tta,wav,w64,wv"
)

STALLED_AFTER = 60.0
"""Seconds without any audio after which ffmpeg is ended."""

MAX_FAILURES = 1000
"""Packets that may be damaged before decoding ends."""

_HEADER = struct.Struct(">4s5I")  # of an AU file: magic, offset, size, encoding, rate, channels
_FLOAT = 6


@dataclass(frozen=True)
class Media:
    """The first audio track of a file; `duration` in seconds is None where it is not known."""

    parts: Iterator[Part]
    duration: float | None
    channels: int
    close: Callable[[], None]


def is_available() -> bool:
    """Whether PyAV or ffmpeg is installed."""
    return find_spec("av") is not None or shutil.which("ffmpeg") is not None


def open_media(file: IO[bytes], name: str, notes: list[str]) -> Media:
    """The first audio track of a media file.

    Raises InvalidAudio where there is none, or where it cannot be decoded.
    """
    if find_spec("av") is not None:
        return _open_av(file, name, notes)
    return _open_ffmpeg(file, name, notes)


def _open_av(file: IO[bytes], name: str, notes: list[str]) -> Media:
    import av

    av.logging.set_level(None)  # what is damaged is in the notes
    file.seek(0)
    try:
        media: Any = av.open(
            file,
            options={"format_whitelist": DEMUXERS, "protocol_whitelist": "file"},
            metadata_errors="replace",
        )
    except (av.FFmpegError, ValueError) as error:
        raise InvalidAudio(f"{name} cannot be decoded by PyAV: {_why(error)}") from None
    if not media.streams.audio:
        media.close()
        raise InvalidAudio(f"{name} has no audio track")
    duration = None if media.duration is None else media.duration / av.time_base
    frames = _av_frames(media, duration, name, notes)
    first = next(frames, None)
    if first is None:
        media.close()
        raise InvalidAudio(f"{name}: nothing of its audio track can be decoded; it is damaged")
    return Media(_av_parts(first, frames, name), duration, first.layout.nb_channels, media.close)


def _why(error: Exception) -> str:
    """An error's reason in words; some of FFmpeg have a number only."""
    why = reason_of(error)
    return "its decoder gives no reason" if why.startswith("Error number") else why


def _av_parts(frame: Any, frames: Iterator[Any], name: str) -> Iterator[Part]:
    """A part for each sample rate, number of channels and format of samples."""
    import av

    def kind(frame: Any) -> tuple[int, str, str]:
        return frame.sample_rate, frame.layout.name, frame.format.name

    while frame is not None:
        rate, layout = frame.sample_rate, frame.layout
        # Not planar: PyAV reads the planes of the first eight channels, and memory behind them.
        resampler = av.AudioResampler("flt", layout, rate)
        following: list[Any] = []

        def pieces(first: Any, rate: int, layout: Any, resampler: Any, after: list[Any]) -> Any:
            each: Any = first
            while each is not None:
                if kind(each) != kind(first):
                    after.append(each)
                    return
                each.pts = None
                try:
                    made = resampler.resample(each)
                except av.FFmpegError as error:  # it takes 64 channels at most
                    raise InvalidAudio(
                        f"{name}: {layout.nb_channels} channels of {rate:,} Hz cannot be "
                        f"converted by PyAV: {_why(error)}"
                    ) from None
                for block in made:
                    yield block.to_ndarray().reshape(-1, layout.nb_channels)
                each = next(frames, None)

        yield Part(rate, pieces(frame, rate, layout, resampler, following))
        frame = following[0] if following else None


def _av_frames(media: Any, duration: float | None, name: str, notes: list[str]) -> Iterator[Any]:
    """The decoded frames of the first audio track."""
    import av

    seconds, failures = 0.0, 0
    packets = media.demux(media.streams.audio[0])
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            for frame in packet.decode():
                seconds += frame.samples / frame.sample_rate
                yield frame
        except av.FFmpegError as error:
            failures += 1
            if failures == 1:
                why = _why(error)
                notes.append(f"{name} is damaged at {seconds:.1f} s: some is left out ({why})")
            if failures > MAX_FAILURES:
                notes.append(f"{name} ends at {seconds:.1f} s: what follows is damaged, too")
                break
    if duration is not None and duration - seconds > 1:
        notes.append(
            f"{name} ends at {seconds:.1f} s, {duration - seconds:.1f} s before its header's end; "
            "it is cut off or damaged"
        )


def _open_ffmpeg(file: IO[bytes], name: str, notes: list[str]) -> Media:
    program = shutil.which("ffmpeg")
    assert program is not None
    file.seek(0)
    copy, descriptor = None, _descriptor(file)
    if descriptor is None:
        # Most video files are read here and there, which a pipe does not allow.
        copy = tempfile.TemporaryFile(prefix="cactus-")  # noqa: SIM115 - closed by close
        shutil.copyfileobj(file, copy)
        copy.seek(0)
        descriptor = copy.fileno()
    errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close
    command = [program, "-nostdin", "-hide_banner", "-loglevel", "error"]
    command += ["-protocol_whitelist", "file,pipe", "-format_whitelist", DEMUXERS]
    command += ["-i", f"file:/dev/fd/{descriptor}", "-map", "0:a:0", "-vn", "-sn", "-dn"]
    command += ["-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        pass_fds=(descriptor,),
        start_new_session=True,  # Ctrl-C is for us
    )

    def close() -> None:
        process.kill()
        with suppress(OSError):
            assert process.stdout is not None
            process.stdout.close()
        process.wait()
        errors.close()
        if copy is not None:
            copy.close()

    def reason() -> str:
        errors.seek(0)
        lines = errors.read(4000).decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:200] if lines else "no reason was given"

    try:
        head = _read(process, _HEADER.size)
        if len(head) < _HEADER.size:
            raise InvalidAudio(f"{name} cannot be decoded by ffmpeg: {reason()}")
        _, offset, _, encoding, rate, channels = _HEADER.unpack(head)
        _read(process, offset - _HEADER.size)
        assert encoding == _FLOAT
    except BaseException:
        close()
        raise

    def pieces() -> Iterator[F32]:
        frame = 4 * channels
        given = 0
        while data := _read(process, max(1, PIECE // channels) * frame):
            whole = len(data) // frame
            given += whole
            yield np.frombuffer(data, ">f4", whole * channels).astype("f4").reshape(-1, channels)
        status = process.wait()
        if status:
            trouble = f"{name}: ffmpeg ended at {given / rate:.1f} s: {reason()}"
            if not given:
                raise InvalidAudio(trouble)
            notes.append(trouble)
        elif (complaint := reason()) != "no reason was given":
            notes.append(f"{name} is damaged: {complaint}")

    return Media(iter([Part(rate, pieces())]), None, channels, close)


def _descriptor(file: IO[bytes]) -> int | None:
    """What an open file is to the system; None for one in memory or of the caller's making."""
    try:
        return file.fileno()
    except OSError:
        return None


def _read(process: subprocess.Popen[bytes], size: int) -> bytes:
    """`size` bytes of what the process writes, fewer at its end. Raises InvalidAudio on a stall."""
    assert process.stdout is not None
    descriptor, parts = process.stdout.fileno(), []
    while size > 0:
        if not select.select([descriptor], [], [], STALLED_AFTER)[0]:
            raise InvalidAudio(f"ffmpeg gave no audio for {STALLED_AFTER:g} s; it was ended")
        data = os.read(descriptor, size)
        if not data:
            break
        parts.append(data)
        size -= len(data)
    return b"".join(parts)
