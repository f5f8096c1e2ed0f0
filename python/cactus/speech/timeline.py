"""A recording without its silence, and where each moment of what is left was before."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from cactus.audio.decode import F32, SAMPLE_RATE
from cactus.audio.vad import VadOptions, only_speech

MARGIN = SAMPLE_RATE // 2
"""Samples next to a cut in which nothing is said: what is left of a pause on either side."""


class Timeline:
    """Remembers where the pieces of a recording come from that are transcribed one after another.

    ``original(seconds)`` says which moment of the whole recording a moment of the pieces alone is.
    """

    def __init__(self) -> None:
        self.length = 0
        """Samples of the pieces."""
        self._begins: list[int] = []  # of each stretch, in samples of the speech alone
        self._places: list[int] = []  # and of the whole recording

    def follow(self, blocks: Iterable[F32], options: VadOptions | None = None) -> Iterator[F32]:
        """The stretches of speech of a recording, in blocks."""
        for place, piece in only_speech(blocks, options):
            self.add(place, len(piece))
            yield piece

    def add(self, place: int, count: int) -> None:
        """``count`` samples follow that lie at sample ``place`` of the recording."""
        if not self._begins or place != self._places[-1] + self.length - self._begins[-1]:
            self._begins.append(self.length)
            self._places.append(place)
        self.length += count

    def original(self, seconds: float, *, end: bool = False) -> float:
        """The time in the recording. Between two stretches: the one's end or the next's start.

        An ``end`` belongs to the stretch before it, anything else to the one behind.
        """
        sample = round(seconds * SAMPLE_RATE)
        find = bisect_left if end else bisect_right
        stretch = max(0, find(self._begins, sample) - 1)
        if not self._begins:
            return seconds
        return (self._places[stretch] + sample - self._begins[stretch]) / SAMPLE_RATE

    def original_segment(self, start: float, end: float) -> tuple[float, float]:
        """A segment's times in the whole recording.

        Next to a cut there is silence, which Whisper gives to either side: a segment that begins
        there begins behind the cut, and one that ends there ends before it.
        """
        first, last = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
        cut = bisect_right(self._begins, first)
        if cut < len(self._begins) and self._begins[cut] - first <= MARGIN < last - first:
            start = self._begins[cut] / SAMPLE_RATE
        cut = bisect_left(self._begins, last) - 1
        if cut > 0 and last - self._begins[cut] <= MARGIN < last - first:
            end = self._begins[cut] / SAMPLE_RATE
        return self.original(start), self.original(end, end=True)

    def original_span(self, start: float, end: float) -> tuple[float, float]:
        """A word's times in the recording: in the stretch where its middle lies, no further."""
        if not self._begins:
            return start, end
        stretch = max(0, bisect_right(self._begins, (start + end) / 2 * SAMPLE_RATE) - 1)
        first, behind = self._begins[stretch], self.length
        if stretch + 1 < len(self._begins):
            behind = self._begins[stretch + 1]
        moved = self._places[stretch] - first
        low, high = (min(max(round(t * SAMPLE_RATE), first), behind) for t in (start, end))
        return (low + moved) / SAMPLE_RATE, (high + moved) / SAMPLE_RATE
