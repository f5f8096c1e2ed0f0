"""Audio as it is decoded: blocks of mono f32 at 16 kHz, whatever the rate and channels before.

Blocks come as they are decoded, so that ten hours need no more memory than ten seconds. Sample
values that no microphone makes are repaired here, so that nothing behind has to look for them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cactus.calls.closing import Closing
from cactus.errors import InvalidAudio
from cactus.inputs.text import reason_of

F32 = NDArray[np.float32]

SAMPLE_RATE = 16_000
"""Samples a second of every block."""

BLOCK = SAMPLE_RATE
"""Samples of a block; the last one of a recording may be shorter."""

MIN_RATE, MAX_RATE = 1_000, 768_000
"""Sample rates that are read, in Hz."""

PIECE = 1 << 14
"""Values decoded at a time, all channels together."""

JUDGED_AFTER = 30
"""Seconds after which audio of mostly impossible values is refused."""


@dataclass(frozen=True)
class Part:
    """A stretch of audio of one rate: pieces f32 [samples] or [samples, channels] of ±1."""

    rate: int
    pieces: Iterator[F32]


class AudioStream(Closing):
    """Audio as an iterator of blocks f32 [BLOCK] at 16 kHz, the last one shorter.

    Full scale is ±1; only resampling goes a little beyond.

    `duration` is its length in seconds as its source states it, None where it does not; headers
    lie, so the samples that come are what counts. `notes` says what had to be repaired, is damaged
    or missing; it is complete when the iterator is exhausted. `seconds` is how much has come so
    far, `channels` how many the source has. Iterating raises `InvalidAudio` when nothing can be
    decoded.
    """

    def __init__(
        self,
        parts: Iterable[Part],
        duration: float | None,
        notes: list[str],
        name: str = "audio",
        close: Callable[[], None] = lambda: None,
        channel: int | None = None,
        channels: int = 1,
    ) -> None:
        self.duration = duration
        self.channels = channels
        self.notes = notes
        self.seconds = 0.0
        self._name, self._close = name, close
        self._blocks = _reblock(
            piece
            for part in parts
            for piece in _resample(_clean(part, notes, name, channel), part.rate)
        )

    def __iter__(self) -> Iterator[F32]:
        return self

    def __next__(self) -> F32:
        try:
            block = next(self._blocks)
        except OSError as error:
            self.close()
            raise InvalidAudio(f"{self._name}: cannot be read: {reason_of(error)}") from error
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
        """Close the file; a second call does nothing. Exhausting the iterator does it, too."""
        with suppress(ValueError):  # another thread is decoding, and finds the file closed
            self._blocks.close()
        self._close()


def check_rate(rate: int, name: str) -> None:
    """Raise InvalidAudio for a rate that is not read."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InvalidAudio(
            f"{name}: the sample rate is {rate:,} Hz, expected {MIN_RATE:,} to {MAX_RATE:,}"
        )


def _clean(part: Part, notes: list[str], name: str, channel: int | None) -> Iterator[F32]:
    """A part's pieces as mono within ±1: one channel, the last where it has fewer, or their mean.

    What is not a number becomes silence, what is beyond ±1 is cut there: one sample of 1e30 would
    otherwise leave nothing else audible. Where most samples are like that, it is not audio.
    """
    total = far = holes = 0
    for piece in part.pieces:
        total += piece.size
        # False for NaN, too; the usual case costs these two looks only.
        if not (piece.size and piece.max() <= 1.0 and piece.min() >= -1.0):
            finite = np.isfinite(piece)
            holes += piece.size - int(np.count_nonzero(finite))
            far += int(np.count_nonzero(~(np.abs(piece) <= 2.0)))
            piece = np.clip(np.where(finite, piece, np.float32(0.0)), -1.0, 1.0)
            if total > JUDGED_AFTER * part.rate:
                _check_scale(far, total, name)
        if piece.size == len(piece):
            yield piece.reshape(-1)
        elif channel is None:
            yield piece.mean(axis=1)
        else:
            yield piece[:, min(channel, piece.shape[1]) - 1]
    _check_scale(far, total, name)
    if holes:
        notes.append(f"{name}: {holes:,} samples are not numbers; they were taken as silence")


def _check_scale(far: int, total: int, name: str) -> None:
    if 2 * far > total:
        raise InvalidAudio(
            f"{name}: {far:,} of {total:,} samples lie beyond ±2 or are not numbers, expected "
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


def _reblock(pieces: Iterator[F32]) -> Generator[F32, None, None]:
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
