"""Windows of audio that is still being made: when they are transcribed, and where they end.

The window that is being filled is transcribed again and again. What two passes in a row agree on is
sure: every later answer begins with it, so that it never changes. A full window, or the end of what
somebody says, is transcribed as in a recording.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from cactus.audio.decode import BLOCK, F32, SAMPLE_RATE
from cactus.audio.silero import WINDOW
from cactus.audio.vad import SpeechFilter
from cactus.native import Session
from cactus.speech.agreement import Agreement
from cactus.speech.pieces import Piece, split
from cactus.speech.search import Answer
from cactus.speech.transcribe import Transcriber
from cactus.speech.vocabulary import TIME_STEP
from cactus.speech.window import FRAMES_PER_SECOND, HOP
from cactus.types import Segment

SPARE = 8
"""Tokens that an answer always has left: so many fewer than it may have can be sure at most."""


class Listener:
    """Fills windows with samples, and hears them every ``interval`` new ones and when they end."""

    def __init__(self, transcriber: Transcriber, interval: int) -> None:
        self.transcriber = transcriber
        self.average = 0.0
        """Log-probability a token of what the last answer said beyond what was sure."""
        engine = transcriber.engine
        self._vocabulary, self._window = engine.vocabulary, engine.window_samples
        self._least = self._window // 15  # an answer to less (2 seconds) does not count
        self._agreement = Agreement(
            engine.vocabulary.first_time, engine.context_length // 2 - SPARE
        )
        self._speech = (
            SpeechFilter(transcriber.options.vad_parameters) if transcriber.options.vad else None
        )
        # Speech is told in whole windows, so that a second of it may be up to one short.
        self._interval = interval - WINDOW if self._speech else interval
        self._held: F32 = np.zeros(0, np.float32)
        self._base = 0  # of what is held, in samples of the speech alone
        self._done = 0  # how much of what is held was transcribed
        self._language_found = False

    @property
    def pending(self) -> str:
        """The text of the last answer that is not sure."""
        return self.transcriber.judge.text(self._agreement.unsure)

    def listen(self, inbox: deque[F32], *, last: bool) -> Iterator[tuple[str, list[Segment]]]:
        """Take what is in the box; the text that is sure now, and the segments that are complete.

        Raises Cancelled; the next call goes on from there.
        """
        yield from self._close(self._window)
        while inbox:
            samples = inbox.popleft()
            if len(samples) > BLOCK:
                inbox.appendleft(samples[BLOCK:])
            self._take(samples[:BLOCK])
            yield from self._close(self._window)
        if last and self._speech:
            self._keep(self._speech.finish())
            yield from self._close(self._window)
        if last or (self._speech and not self._speech.speaking):
            # Nothing more belongs to this window: what comes next is said after a silence.
            yield from self._close(HOP)
            self._move(len(self._held))
            self._agreement.clear()
        elif len(self._held) - self._done >= self._interval:
            yield self._guess(), []

    def _take(self, samples: F32) -> None:
        if self._speech is None:
            self._held = np.concatenate((self._held, samples))
        else:
            self._keep(self._speech.feed(samples))

    def _keep(self, pieces: list[tuple[int, F32]]) -> None:
        for place, piece in pieces:
            self.transcriber.timeline.add(place, len(piece))
            self._held = np.concatenate((self._held, piece))

    def _move(self, count: int) -> None:
        self._held, self._base = self._held[count:], self._base + count
        self._done = max(0, self._done - count)

    def _guess(self) -> str:
        """Hear a window that is not full yet; the text that has become sure."""
        with self._session() as session:
            answer = self._pass(session, self._held, draft=True)
        judge = self.transcriber.judge
        if judge.looks_wrong(answer) or judge.is_silence(answer, self._held):
            return ""
        tokens = self._audible(answer.tokens, len(self._held) // HOP)
        if len(self._held) < self._least:
            self._agreement.guess(tokens)
            return ""
        return self._text(self._agreement.compare(tokens, self._doubtful(tokens), self._is_whole))

    def _close(self, least: int) -> Iterator[tuple[str, list[Segment]]]:
        """Transcribe what is held as in a recording, while it is ``least`` samples or more."""
        while len(self._held) >= least:
            samples = self._held[: self._window]
            begin, frames = self._base / SAMPLE_RATE, len(samples) // HOP
            with self._session() as session:
                answer = self._pass(session, samples, draft=False)
                segments, advance = self.transcriber.take(answer, begin, samples, session)
            text = ""
            if self.transcriber.judge.is_silence(answer, samples):
                self._agreement.clear()
            else:
                pieces, _ = split(answer.tokens, self._vocabulary, frames)
                believed = self.transcriber.believed(answer, pieces, samples)
                text = self._beyond(pieces, len(self._agreement.sure), believed)
                steps = round(advance / FRAMES_PER_SECOND / TIME_STEP)
                self._agreement.close(answer.tokens, sum(len(p.tokens) for p in pieces), steps)
            self._move(advance * HOP)
            yield text, segments

    def _beyond(self, pieces: list[Piece], known: int, believed: list[Piece]) -> str:
        """What those of the pieces that are believed say and the first ``known`` tokens do not."""
        texts = []
        for piece in pieces:
            # One without a length lies behind the end of the audio, where nobody speaks.
            if piece.start < piece.end and piece in believed:
                texts.append(self._text(piece.tokens[max(0, known) :]))
            known -= len(piece.tokens)
        return "".join(texts)

    def _session(self) -> Session:
        """A memory for one window; between two calls the model keeps nothing for us."""
        return self.transcriber.engine.decoder.session()

    def _pass(self, session: Session, samples: F32, *, draft: bool) -> Answer:
        """The answer to a window; where words are sure, it does not say that nobody speaks."""
        work, sure = self.transcriber, self._agreement.sure
        again = not self._language_found or (work.options.multilingual and not sure)
        if again and self._vocabulary.languages:
            work.language = work.options.language  # of the first second one cannot tell
        answer = work.alone(work.answer(session, samples, sure, draft=draft))
        self._done = len(samples)
        self.average = answer.total / (len(answer.tokens) - len(sure) + 1)
        return replace(answer, no_speech=0.0) if sure else answer

    def _audible(self, tokens: list[int], frames: int) -> list[int]:
        """The tokens without those segments that would begin behind the window's end."""
        v, end = self._vocabulary, frames / FRAMES_PER_SECOND
        for i in range(len(self._agreement.sure), len(tokens)):
            begins = i == 0 or tokens[i - 1] >= v.first_time
            if begins and v.seconds(tokens[i]) >= end:
                return tokens[:i]
        return tokens

    def _doubtful(self, tokens: list[int]) -> int:
        """The length of what ends an answer's text: it was cut there, the sentence perhaps not."""
        count = 0
        while count < len(tokens) and not any(
            map(str.isalnum, self.transcriber.judge.text(tokens[len(tokens) - count - 1 :]))
        ):
            count += 1
        return count

    def _text(self, tokens: Sequence[int]) -> str:
        text = self.transcriber.judge.text(tokens)
        self._language_found |= bool(text.strip())
        return text

    def _is_whole(self, tokens: list[int]) -> bool:
        """Whether a text may be cut behind these tokens, and not within a character."""
        return not self.transcriber.judge.text(tokens).endswith("\ufffd")
