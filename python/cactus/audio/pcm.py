"""Raw samples: bytes, arrays, or what a recorder writes into a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.audio.stream import F32, PIECE, SAMPLE_RATE, AudioStream, Part, check_rate
from cactus.errors import InvalidAudio
from cactus.inputs.text import reason_of


def open_pcm(samples: Any, rate: int = SAMPLE_RATE) -> AudioStream:
    """Open raw mono samples: bytes or a binary file object of s16le, or an array.

    Arrays [samples] or [samples, 1] are float within ±1, int16 or int32; integers in a list have
    16 bits. A file object is read as it fills, to its end.

    Raises `InvalidAudio` for other types, shapes and rates, and for half a sample.
    """
    check_rate(rate, "audio")
    notes: list[str] = []
    if callable(getattr(samples, "read", None)):
        return AudioStream([Part(rate, _read_s16(samples, notes))], None, notes)
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
    return AudioStream([Part(rate, pieces)], len(array) / rate, notes)


def _checked_array(samples: Any) -> NDArray[Any]:
    try:
        array = np.asarray(samples)
    except (TypeError, ValueError) as error:
        raise InvalidAudio(f"audio is not an array of samples: {error}") from None
    if samples is None or array.dtype == object:
        raise InvalidAudio(f"audio is {type(samples).__name__}, expected bytes or an array")
    if array.ndim == 2 and array.shape[1] == 1:  # as a sound card's callback gives it
        array = array[:, 0]
    if array.ndim != 1:
        raise InvalidAudio(
            f"audio has the shape {list(array.shape)}, expected [samples] or [samples, 1]; "
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
            raise InvalidAudio(f"raw audio cannot be read: {reason_of(error)}") from error
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
