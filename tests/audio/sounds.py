"""Sound files made on the spot: right ones in every format, and WAV files with any header."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

FORMATS = [
    ("WAV", "PCM_U8"), ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "PCM_32"), ("WAV", "FLOAT"),
    ("WAV", "DOUBLE"), ("WAV", "ALAW"), ("WAV", "ULAW"), ("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"),
    ("WAV", "GSM610"), ("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_24"),
    ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("CAF", "PCM_16"),
]  # fmt: skip


def chirp(seconds: float, rate: int = 16_000) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A tone that rises from 100 Hz to 1.5 kHz, at half of full scale."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * (100 * time + 700 * time**2 / max(seconds, 1e-9))
    return (0.5 * np.sin(phase)).astype(np.float32)


def encode(samples: Any, rate: int, container: str, coding: str) -> bytes:
    """A sound file of samples [frames] or [frames, channels]."""
    file = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with soundfile.SoundFile(file, "w", rate, channels, format=container, subtype=coding) as sound:
        # In one piece, a long sound overflows the stack of the Vorbis encoder.
        for start in range(0, len(samples), 4096):
            sound.write(samples[start : start + 4096])
    return file.getvalue()


def chunk(kind: bytes, content: bytes, size: int | None = None, pad: bool = True) -> bytes:
    """A RIFF chunk; `size` is what it claims."""
    stated = len(content) if size is None else size
    return kind + struct.pack("<I", stated) + content + bytes(pad and len(content) % 2)


def fmt(
    coding: int = 1, channels: int = 1, rate: int = 16_000, bits: int = 16, extra: bytes = b""
) -> bytes:
    """The content of a format chunk."""
    frame = channels * bits // 8
    return (
        struct.pack(
            "<HHIIHH",
            coding,
            channels,
            rate,
            rate * frame & 0xFFFFFFFF,
            frame & 0xFFFF,
            bits,
        )
        + extra
    )


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    """A WAV file of these chunks; `size` is what it claims."""
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def s16(samples: Any) -> bytes:
    """Samples within ±1 as s16le."""
    return np.round(np.asarray(samples) * 32767).astype("<i2").tobytes()


def silent_wav(path: Path, seconds: int, size: int | None = None) -> Path:
    """A sparse WAV file of 8-bit samples, all 0, which takes no room on the disk."""
    header = riff(chunk(b"fmt ", fmt(bits=8)), b"data" + struct.pack("<I", (size or 0)))
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + seconds * 16_000)
    return path


def similarity(got: Any, want: Any) -> float:
    """The correlation of two sounds at the delay that suits best, codecs have some."""
    size = min(len(got), len(want))
    spectrum = np.fft.rfft(got[:size], 2 * size) * np.conj(np.fft.rfft(want[:size], 2 * size))
    best = np.fft.irfft(spectrum)[np.r_[-4000:0, 0:4000]].max()
    return float(best / np.sqrt(np.sum(got[:size] ** 2.0) * np.sum(want[:size] ** 2.0)))


def av_file(
    path: Path,
    form: str,
    codec: str,
    sound: Any,
    rate: int,
    *,
    samples_of: str | None = None,
    **options: str,
) -> Path:
    """A media file of samples [n], or of [n, 2] where there are two channels.

    `samples_of`: the codec's format of samples, of those that it has.
    """
    import av

    layout = "mono" if sound.ndim == 1 else "stereo"
    with av.open(str(path), "w", format=form, options=options) as container:
        stream: Any = container.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 96_000
        if samples_of is not None:
            stream.format = samples_of
        samples = np.ascontiguousarray(sound.reshape(len(sound), -1).T)
        for start in range(0, samples.shape[1], 4096):
            frame = av.AudioFrame.from_ndarray(samples[:, start : start + 4096], "fltp", layout)
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
