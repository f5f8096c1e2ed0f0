"""A transcription of samples as they come: what somebody is saying just now."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

from cactus.calls.closing import Closing
from cactus.calls.stopwatch import Stopwatch
from cactus.calls.turns import Call, Turns
from cactus.errors import Cancelled, InvalidAudio, InvalidRequest
from cactus.inputs.checks import number
from cactus.types import LiveUpdate, Segment

if TYPE_CHECKING:
    from cactus.audio.decode import F32
    from cactus.speech.engine import SpeechEngine
    from cactus.speech.options import Options


def check_samples(samples: Any) -> F32:
    """Samples f32 [n] of bytes (s16le), an array or a list; InvalidAudio for anything else."""
    from cactus.audio.decode import open_pcm

    if isinstance(samples, str) or callable(getattr(samples, "read", None)):
        raise InvalidAudio(
            f"samples are {type(samples).__name__}, expected bytes of 16-bit samples or an array"
        )
    with open_pcm(samples) as sound:
        checked = sound.read()
    if sound.notes:  # a recording would be repaired; who makes the samples should know
        raise InvalidAudio(f"some of {len(checked):,} samples are not numbers (NaN or infinite)")
    return checked


class LiveTranscription(Closing):
    """A transcription of samples as they come. ``feed`` them, and ``finish`` when they end.

    Between two calls the model is free for others. ``stop`` of the model ends the pass that is
    under way; nothing that was fed is lost by it.
    """

    def __init__(
        self, engine: SpeechEngine, turns: Turns, options: Options, interval: float
    ) -> None:
        from cactus.audio.decode import SAMPLE_RATE
        from cactus.speech.listener import Listener
        from cactus.speech.transcribe import Transcriber

        samples = round(number("interval", interval, 0.1, 30) * SAMPLE_RATE)
        if not options.timestamps:
            raise InvalidRequest("timestamps must be True: a live transcription goes by them")
        for name in ("clip_timestamps", "prefix"):
            if getattr(options, name):
                raise InvalidRequest(f"{name} is for recordings: a live transcription goes on")
        if options.batch_size > 1:
            raise InvalidRequest("batch_size is for recordings: of what is said now there is one")
        self._turns = turns
        self._listener = Listener(Transcriber(engine, options), samples)
        self._inbox: deque[F32] = deque()
        self._texts: list[str] = []
        self._ended = False
        self._call: Call | None = None

    @property
    def text(self) -> str:
        """All that is confirmed so far."""
        return "".join(self._texts)

    @property
    def pending(self) -> str:
        """What comes behind it, which may change."""
        return self._listener.pending if self._texts else self._listener.pending.lstrip()

    @property
    def language(self) -> str | None:
        """The language, given or detected; None before anything was transcribed."""
        return self._listener.transcriber.language

    @property
    def language_probability(self) -> float:
        """How sure the language is: 1 where it was given."""
        return self._listener.transcriber.language_probability

    @property
    def closed(self) -> bool:
        """True after ``finish`` or ``close``, and once the model is closed."""
        return self._ended or self._turns.closed

    def feed(self, samples: Any) -> LiveUpdate:
        """Take more samples, and transcribe where enough are new; what is confirmed now.

        ``samples``: any number, mono at 16 kHz: bytes of s16le, or an array or list as
        `Model.transcribe` takes it. Raises InvalidAudio, and InvalidRequest after ``finish``,
        ReentrantCall, ModelClosed.
        """
        return self._work(check_samples(samples), last=False)

    def finish(self) -> LiveUpdate:
        """No more samples come; what was not confirmed yet is now."""
        import numpy as np

        return self._work(np.zeros(0, np.float32), last=True)

    def stop(self) -> None:
        """End the pass that is under way, if one is; nothing that was fed is lost by it."""
        call = self._call
        if call is not None:
            call.stop()

    def close(self) -> None:
        """Forget what has not been transcribed; after ``finish``, or twice, nothing happens."""
        self._ended = True
        self._inbox.clear()

    def _check(self) -> None:
        self._turns.check()
        if self._ended:
            raise InvalidRequest("this live transcription has ended; begin another one")

    def _work(self, samples: F32, *, last: bool) -> LiveUpdate:
        self._check()
        call = Call()
        self._turns.register(call)
        try:
            with call.inside:
                # The turn also keeps apart two threads that feed the same transcription.
                entered = self._turns.enter(call)
                self._call = call  # first: what closes and then stops meets one of both
                self._check()
                self._inbox.append(samples)
                self._ended = last
                return self._listen(call, entered, last)
        finally:
            self._call = None
            self._turns.leave(call)

    def _listen(self, call: Call, entered: bool, last: bool) -> LiveUpdate:
        listener, watch, known = self._listener, Stopwatch(), len(self._texts)
        segments: list[Segment] = []
        listener.transcriber.obey(call.flag, watch)
        watch.start()
        try:
            for text, found in listener.listen(self._inbox, last=last) if entered else ():
                self._add(text)
                segments += found
        except Cancelled:
            self._turns.cancel_if_closed()
        return LiveUpdate(
            confirmed="".join(self._texts[known:]),
            pending=self.pending,
            segments=tuple(segments),
            confidence=math.exp(listener.average),
            metrics=listener.transcriber.metrics,
        )

    def _add(self, text: str) -> None:
        if not self._texts:
            text = text.lstrip()
        if text:
            self._texts.append(text)
