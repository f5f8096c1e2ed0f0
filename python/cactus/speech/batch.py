"""Passages of a recording, cut by voice activity, as rows of the same steps.

Each passage is transcribed like a recording of its own. As a row has the same bits in any company,
and no passage knows of another, what comes does not depend on how many go on at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Generic, TypeVar

import numpy as np

from cactus.audio.decode import F32, SAMPLE_RATE
from cactus.audio.segmenter import VadOptions
from cactus.audio.vad import only_speech
from cactus.speech.detection import of_windows, returned
from cactus.speech.rules import Logits
from cactus.speech.search import Fed, Search, Work
from cactus.speech.timeline import Timeline
from cactus.speech.transcribe import Transcriber
from cactus.speech.window import FRAMES_PER_SECOND, HOP, stoppable
from cactus.types import Segment

T = TypeVar("T")

PAUSES = VadOptions(min_silence_duration_ms=160)
"""Where a recording may be cut unless the caller says it: at the pauses of whoever speaks."""


@dataclass(frozen=True)
class Passage:
    """Speech of a window at most, and where in the recording it lies."""

    samples: F32
    timeline: Timeline


def passages(blocks: Iterator[F32], options: VadOptions | None, length: int) -> Iterator[Passage]:
    """The speech of a recording in passages of at most ``length`` samples, which end in pauses.

    Speech that has none for so long is cut at a shorter one, or where it is.
    """
    options = options or PAUSES
    most = min(options.max_speech_duration_s, length / SAMPLE_RATE)
    held: list[F32] = []
    timeline = Timeline()
    for place, samples in only_speech(blocks, replace(options, max_speech_duration_s=most)):
        if held and timeline.length + len(samples) > length:
            yield Passage(np.concatenate(held), timeline)
            held, timeline = [], Timeline()
        timeline.add(place, len(samples))
        held.append(samples)
    if held:
        yield Passage(np.concatenate(held), timeline)


class BatchTranscriber(Transcriber):
    """A transcription of which ``options.batch_size`` passages go on at a time.

    No passage sees the text of another, whatever ``condition_on_previous_text`` says.
    """

    def segments(self, blocks: Iterator[F32]) -> Generator[Segment | None, None, None]:
        """The segments in order, and None wherever others may go on.

        Raises Cancelled once it is stopped, within an operation.
        """
        blocks = stoppable(self.stop, blocks)
        cut = passages(blocks, self.options.vad_parameters, self.engine.window_samples)
        if self.language is None and not self.options.multilingual:
            cut = self._detect_language(cut)
        begun = (self._transcribe(passage, number) for number, passage in enumerate(cut))
        for done in together(self.search, begun, self.options.batch_size):
            found = [] if done is None else self.absorb(*done)
            yield from found or (None,)

    def _detect_language(self, cut: Iterator[Passage]) -> Iterator[Passage]:
        """Set the language by the first passages; all of them."""
        ahead = list(islice(cut, self.options.language_detection_segments))
        several = (passage.samples for passage in ahead)
        with self.engine.decoder.session() as session:
            found = returned(of_windows(self.engine, self.search, session, several, self.options))
        if found.language is not None:
            self.set_language(found)
        return chain(ahead, cut)

    def _transcribe(self, passage: Passage, number: int) -> Work[tuple[Transcriber, list[Segment]]]:
        """The segments of a passage, by a transcriber of its own."""
        prefix = "" if number else self.options.prefix
        options = replace(self.options, condition_on_previous_text=False, prefix=prefix)
        worker = self.worker(options, passage.timeline)
        found: list[Segment] = []
        seek, frames = 0, len(passage.samples) // HOP
        with self.engine.decoder.session() as session:
            while seek < frames:
                rest = passage.samples[seek * HOP :]
                segments, advance = yield from worker.window(
                    session, rest, seek / FRAMES_PER_SECOND
                )
                found += segments
                seek += advance
        return worker, found


class _Going(Generic[T]):
    """Work under way: what it wants to feed, or what it has come to."""

    def __init__(self, work: Work[T]) -> None:
        self._work = work
        self.fed: Fed = []
        self.results: list[T] = []
        self._go(None)

    @property
    def rows(self) -> int:
        """How many rows of a step it wants."""
        return sum(len(tokens) for _, tokens in self.fed)

    def take(self, logits: list[Logits]) -> None:
        """Go on with the logits of what was fed."""
        self._go(logits)

    def close(self) -> None:
        """End it where it is."""
        self._work.close()

    def _go(self, logits: list[Logits] | None) -> None:
        try:
            self.fed = next(self._work) if logits is None else self._work.send(logits)
        except StopIteration as end:
            self.fed, self.results = [], [end.value]


def together(search: Search, begun: Iterator[Work[T]], most: int) -> Iterator[T | None]:
    """What each work comes to, in order; up to ``most`` go on at a time, in the same steps.

    None wherever others may go on.
    """
    going: deque[_Going[T]] = deque()
    try:
        while True:
            while sum(not each.results for each in going) < most:
                work = next(begun, None)
                if work is None:
                    break
                going.append(_Going(work))
                yield None
            while going and going[0].results:
                yield going.popleft().results[0]
            waiting = [each for each in going if not each.results]
            if not waiting:
                return
            for several in _packed(waiting, search.program.chunk):
                logits = iter(search.step([each for one in several for each in one.fed]))
                for one in several:
                    one.take(list(islice(logits, len(one.fed))))
            yield None
    finally:
        for each in going:
            each.close()


def _packed(waiting: Sequence[_Going[T]], most: int) -> Iterator[list[_Going[T]]]:
    """All that waits, in groups of at most ``most`` rows of a step."""
    group: list[_Going[T]] = []
    for each in waiting:
        if group and sum(one.rows for one in group) + each.rows > most:
            yield group
            group = []
        group.append(each)
    yield group
