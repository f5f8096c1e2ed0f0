"""Decoding sound: any file, rate and number of channels to blocks of mono f32 at 16 kHz.

Blocks come as they are decoded, so that ten hours need no more memory than ten seconds. Sample
values that no microphone makes are repaired here, so that nothing behind has to look for them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cactus.audio.formats import HEAD_BYTES, SUPPORTED, recognise
from cactus.audio.mpeg import Mp3Data, find_frames
from cactus.audio.source import View, open_bytes
from cactus.audio.wav import find_samples
from cactus.closing import Closing
from cactus.errors import InvalidAudio

F32 = NDArray[np.float32]

SAMPLE_RATE = 16_000
"""Samples a second of every block."""

BLOCK = SAMPLE_RATE
"""Samples of a block; the last one of a sound may be shorter."""

MIN_RATE, MAX_RATE = 1_000, 768_000
"""Sample rates that are read, in Hz."""

PIECE = 1 << 14
"""Values decoded at a time, all channels together."""

JUDGED_AFTER = 30
"""Seconds after which a sound of mostly impossible values is refused."""


class AudioStream(Closing):
    """A sound as an iterator of blocks f32 [BLOCK] at 16 kHz, the last one shorter.

    Full scale is ±1; only resampling goes a little beyond.

    `duration` is its length in seconds as its source states it, None where it does not; headers
    lie, so the samples that come are what counts. `notes` says what had to be repaired or is
    missing at the end; it is complete when the iterator is exhausted. `seconds` is how much has
    come so far. Iterating raises `InvalidAudio` when nothing can be decoded.
    """

    def __init__(
        self,
        pieces: Iterator[F32],
        rate: int,
        duration: float | None,
        notes: list[str],
        name: str = "audio",
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.duration = duration
        self.notes = notes
        self.seconds = 0.0
        self._close = close
        self._blocks = _reblock(_resample(_clean(pieces, rate, notes, name), rate))

    def __iter__(self) -> Iterator[F32]:
        return self

    def __next__(self) -> F32:
        try:
            block = next(self._blocks)
        except BaseException:
            self.close()
            raise
        self.seconds += len(block) / SAMPLE_RATE
        return block

    def read(self) -> F32:
        """All that is left as one array f32 [samples]."""
        blocks = list(self)
        return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)

    def close(self) -> None:
        """Let go of the file; a second call does nothing. Exhausting the iterator does it, too."""
        self._close()


def open_audio(source: str | os.PathLike[str] | bytes | IO[bytes]) -> AudioStream:
    """Open a sound file given as path, bytes or binary file object; what it is, its content says.

    Raises `InvalidAudio` naming what is wrong, `UnsupportedAudio` for another kind of file.
    """
    file, name = open_bytes(source)
    try:
        return _open(file, name)
    except OSError as error:
        file.close()
        raise InvalidAudio(f"{name}: cannot be read: {error}") from error
    except BaseException:
        file.close()
        raise


def open_pcm(samples: Any, rate: int = SAMPLE_RATE) -> AudioStream:
    """Open raw mono samples: bytes or a binary file object of s16le, or an array [samples].

    Arrays are float within ±1, int16 or int32; integers in a list have 16 bits. A file object is
    read as it fills, to its end.

    Raises `InvalidAudio` for other types, shapes and rates, and for half a sample.
    """
    _check_rate(rate, "audio")
    notes: list[str] = []
    if callable(getattr(samples, "read", None)):
        return AudioStream(_read_s16(samples, notes), rate, None, notes)
    if isinstance(samples, (bytes, bytearray, memoryview)):
        raw = memoryview(samples).cast("B")
        if len(raw) % 2:
            raise InvalidAudio(
                f"raw audio of {len(raw)} bytes: expected 16-bit samples, an even number of bytes"
            )
        array: NDArray[Any] = np.frombuffer(raw, "<i2")
    else:
        array = _checked_array(samples)
    pieces = (_to_float(array[i : i + PIECE]) for i in range(0, len(array), PIECE))
    return AudioStream(pieces, rate, len(array) / rate, notes)


def _checked_array(samples: Any) -> NDArray[Any]:
    try:
        array = np.asarray(samples)
    except (TypeError, ValueError) as error:
        raise InvalidAudio(f"audio is no array of samples: {error}") from None
    if array.ndim != 1:
        raise InvalidAudio(
            f"audio has the shape {list(array.shape)}, expected [samples]; "
            "average the channels of a recording first"
        )
    if isinstance(samples, (list, tuple)) and array.dtype.kind == "i":
        if array.min() < -(1 << 15) or array.max() >= 1 << 15:
            raise InvalidAudio("audio is a list of integers beyond 16 bits, expected -32768..32767")
        array = array.astype(np.int16)
    if array.dtype.kind != "f" and array.dtype not in (np.int16, np.int32):
        raise InvalidAudio(
            f"audio is an array of {array.dtype}, expected float within ±1, int16 or int32"
        )
    return array


def _to_float(piece: NDArray[Any]) -> F32:
    if piece.dtype.kind == "i":
        return np.asarray(piece / -float(np.iinfo(piece.dtype).min), np.float32)
    with np.errstate(over="ignore"):  # beyond f32 is infinite, and repaired as such
        return piece.astype(np.float32)


def _read_s16(file: Any, notes: list[str]) -> Iterator[F32]:
    # read1 returns what has arrived; read would wait for the whole piece of a live recording.
    read = getattr(file, "read1", None) or file.read
    rest = b""
    while True:
        try:
            data = read(2 * PIECE)
        except (OSError, ValueError) as error:
            raise InvalidAudio(f"raw audio cannot be read: {error}") from error
        if not data:
            break
        if not isinstance(data, (bytes, bytearray)):
            raise InvalidAudio(f"raw audio gives {type(data).__name__}, expected bytes")
        data = rest + data
        whole = len(data) & ~1
        rest = bytes(data[whole:])
        yield _to_float(np.frombuffer(data[:whole], "<i2"))
    if rest:
        notes.append("raw audio ends in the middle of a 16-bit sample")


def _open(file: IO[bytes], name: str) -> AudioStream:
    import soundfile

    file.seek(0)
    container = recognise(file.read(HEAD_BYTES), name)
    size = file.seek(0, os.SEEK_END)
    missing = 0
    mp3: Mp3Data | None = None
    if container == "wav":
        data = find_samples(file, name)
        _check_rate(data.rate, name)
        missing = data.missing
        view = View(file, data.header(), data.offset, data.size)
    elif container == "mp3":
        mp3 = find_frames(file)
        view = View(file, mp3.header, mp3.offset, size - mp3.offset)
    else:
        view = View(file, b"", 0, size)
    try:
        sound = soundfile.SoundFile(view)
    except soundfile.LibsndfileError as error:
        if view.failure:
            raise InvalidAudio(f"{name}: cannot be read: {view.failure}") from view.failure
        raise InvalidAudio(
            f"{name} begins like {container.upper()} and cannot be decoded: it is damaged or of "
            f"a kind that is not read ({error.error_string}); supported are {SUPPORTED}"
        ) from None
    rate, channels = sound.samplerate, sound.channels
    try:
        _check_rate(rate, name)
    except InvalidAudio:
        sound.close()
        raise
    # libsndfile has the largest number there is for one that the container does not say.
    duration = sound.frames / rate if sound.frames < 1 << 62 else None
    if mp3:
        duration = mp3.duration
    notes: list[str] = []

    def pieces() -> Iterator[F32]:
        read = 0
        for piece in _decode(sound, max(1, PIECE // channels)):
            read += len(piece)
            yield piece
        if view.failure:
            raise InvalidAudio(f"{name}: cannot be read: {view.failure}") from view.failure
        _check_end(read / rate, duration, missing, notes, name)

    def close() -> None:
        sound.close()
        file.close()

    return AudioStream(pieces(), rate, duration, notes, name, close)


def _decode(sound: Any, frames: int) -> Iterator[F32]:
    """Pieces f32 [frames, channels]; a damaged stretch is left out where the decoder goes on."""
    import soundfile

    # After each read of a file that can be seeked, it is: an MP3 decoder then starts anew.
    sound.seekable = lambda: False
    failures = 0
    while failures < 3:
        try:
            piece = sound.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError:
            failures += 1
            continue
        if not len(piece):
            return
        failures = 0
        yield piece


def _check_end(
    read: float, stated: float | None, missing: int, notes: list[str], name: str
) -> None:
    """Say what is missing; a sound that promises something and has nothing is an error."""
    if missing:
        said = f"{name} ends after {read:.1f} s, {missing:,} bytes before its header's end"
    elif stated is not None and abs(stated - read) > 1:
        said = f"{name} has {read:.1f} s of sound, and its header says {stated:.1f} s"
    else:
        return
    if not read:
        raise InvalidAudio(f"{said}; it is cut off or damaged, and nothing of it can be decoded")
    notes.append(f"{said}; it is cut off or damaged")


def _check_rate(rate: int, name: str) -> None:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidAudio(
            f"{name}: the sample rate is {rate:,} Hz, expected {MIN_RATE:,} to {MAX_RATE:,}"
        )


def _clean(pieces: Iterator[F32], rate: int, notes: list[str], name: str) -> Iterator[F32]:
    """Pieces [samples] or [samples, channels] to mono within ±1.

    What is no number becomes silence, what is beyond ±1 is cut there: one sample of 1e30 would
    otherwise leave nothing else audible. Where most samples are like that, it is no sound.
    """
    total = far = holes = 0
    for piece in pieces:
        total += piece.size
        # False for NaN, too; the usual case costs these two looks only.
        if not (piece.size and piece.max() <= 1.0 and piece.min() >= -1.0):
            finite = np.isfinite(piece)
            holes += piece.size - int(np.count_nonzero(finite))
            far += int(np.count_nonzero(~(np.abs(piece) <= 2.0)))
            piece = np.clip(np.where(finite, piece, np.float32(0.0)), -1.0, 1.0)
            if total > JUDGED_AFTER * rate:
                _check_scale(far, total, name)
        yield piece.reshape(-1) if piece.size == len(piece) else piece.mean(axis=1)
    _check_scale(far, total, name)
    if holes:
        notes.append(f"{name}: {holes:,} samples are no numbers; they were taken as silence")


def _check_scale(far: int, total: int, name: str) -> None:
    if 2 * far > total:
        raise InvalidAudio(
            f"{name}: {far:,} of {total:,} samples lie beyond ±2 or are no numbers, expected "
            "±1 for full scale; 16-bit values kept as floats are divided by 32768"
        )


def _resample(pieces: Iterator[F32], rate: int) -> Iterator[F32]:
    """From `rate` to `SAMPLE_RATE`; the same values however the input is cut."""
    if rate == SAMPLE_RATE:
        yield from pieces
        return
    import soxr

    resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for piece in pieces:
        yield resampler.resample_chunk(np.ascontiguousarray(piece))
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _reblock(pieces: Iterator[F32]) -> Iterator[F32]:
    """Blocks of `BLOCK` samples, the last one shorter and never empty."""
    held: list[F32] = []
    have = 0
    for piece in pieces:
        held.append(piece)
        have += len(piece)
        if have < BLOCK:
            continue
        joined = np.concatenate(held)
        whole = have - have % BLOCK
        # Copies, so that a block that is kept keeps no other alive.
        yield from (joined[i : i + BLOCK].copy() for i in range(0, whole, BLOCK))
        held, have = [joined[whole:]], have - whole
    if have:
        yield np.concatenate(held)
