"""From a stream of samples to windows of 30 seconds, wherever they are asked for, in order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cactus.audio.decode import F32, SAMPLE_RATE
from cactus.calls.stop_flag import StopFlag
from cactus.errors import Cancelled

HOP = 160
"""Samples from one frame of the spectrogram to the next: 10 ms."""
FRAMES_PER_SECOND = SAMPLE_RATE // HOP
SILENT = 1e-4
"""How far samples of digital silence lie apart at most: less than four steps of 16 bits."""


def stoppable(stop: StopFlag, blocks: Iterator[F32]) -> Iterator[F32]:
    """The blocks of a recording, then Cancelled as soon as ``stop`` is set: hours may be silent."""
    for block in blocks:
        if stop:
            raise Cancelled("stopped while the audio was read")
        yield block


def is_silent(samples: F32) -> bool:
    """Whether there is nothing but silence, as where a microphone is switched off."""
    return len(samples) == 0 or float(np.ptp(samples)) < SILENT


class Windows:
    """Stretches of a recording that is read as it is needed; what lies behind is dropped."""

    def __init__(self, blocks: Iterator[F32], length: int) -> None:
        self._blocks, self._length = blocks, length
        self._held: F32 = np.zeros(0, np.float32)
        self._first = 0  # sample number of what is held
        self._ended = False

    def at(self, start: int) -> F32:
        """At most ``length`` samples from ``start`` on, none behind the end; starts go forward."""
        self._drop(start)
        self._read(start)
        first = start - self._first
        return self._held[first : first + self._length]

    def _drop(self, until: int) -> None:
        count = min(max(0, until - self._first), len(self._held))
        self._held = self._held[count:]
        self._first += count

    def _read(self, start: int) -> None:
        until = start + self._length
        parts, have = [self._held], self._first + len(self._held)
        while have < until and not self._ended:
            block = next(self._blocks, None)
            if block is None:
                self._ended = True
                break
            have += len(block)
            if have <= start:  # on the way to a start far ahead
                parts, self._first = [block[:0]], have
            else:
                parts.append(block)
        self._held = np.concatenate(parts) if len(parts) > 1 else parts[0]
        self._drop(start)
