"""Recordings of any length, window by window, as Whisper's authors do it.

Each window of 30 seconds is encoded once and searched as often as its answers look wrong.
Timestamps say where a segment ends for certain; the next window begins there.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from typing import TypeVar

from cactus.audio.decode import F32
from cactus.calls.stop_flag import StopFlag
from cactus.calls.stopwatch import Stopwatch, rate
from cactus.machine import resident_megabytes
from cactus.native import Session
from cactus.speech.coverage import Gap, before_gap, first_gap, is_sparse
from cactus.speech.detection import likeliest, of_windows, returned
from cactus.speech.engine import SpeechEngine
from cactus.speech.hallucination import first_hallucination
from cactus.speech.judge import (
    Judge,
    before_repetition,
    is_heard,
    only_heard,
    said_letters,
    speaks,
    until_repeated,
    without_echoes,
)
from cactus.speech.options import Options
from cactus.speech.pieces import Piece, end_of, is_closed, split
from cactus.speech.rules import Rules
from cactus.speech.search import Answer, Search, Work
from cactus.speech.timeline import Timeline
from cactus.speech.vocabulary import TIME_STEP
from cactus.speech.window import FRAMES_PER_SECOND, HOP, Windows, is_silent, stoppable
from cactus.speech.words import Timed, WordFinder
from cactus.types import DetectedLanguage, Metrics, Segment, TokenLogprob, Word

T = TypeVar("T")

RECENT = 8
"""Segments before, of which none is repeated where a passage is transcribed again."""


@dataclass
class _Past:
    """The tokens said so far, which the next window is conditioned on from ``since`` on."""

    tokens: list[int] = field(default_factory=list)
    since: int = 0


class Transcriber:
    """One transcription: ``segments(blocks)`` yields those of a recording as they come.

    ``language`` is there once the first window is transcribed; ``seconds`` is how far it has come.
    Audio that is still being made comes in windows of its listener's own: ``obey`` a call,
    ``answer`` a window, ``take`` what its answer says for certain.
    """

    def __init__(
        self,
        engine: SpeechEngine,
        options: Options,
        stop: StopFlag | None = None,
        watch: Stopwatch | None = None,
    ) -> None:
        self.engine, self.options = engine, options
        self.obey(StopFlag() if stop is None else stop, watch)
        self.language = options.language or ("en" if not engine.vocabulary.languages else None)
        self.language_probability = 0.0 if self.language is None else 1.0
        self.seconds = 0.0
        self._logprob, self._said, self._count = 0.0, 0, 0
        self.timeline = Timeline()
        self.judge = Judge(engine, options)
        self._words = WordFinder(engine)
        self._passed = 0  # up to which frame answers have been given, with what they left out
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._heard: set[str] = set()  # of these, since something was left out, in their own time
        self._past = _Past()
        self._timed = options.timestamps
        self._letters: dict[str, int] = {}  # said in each language
        self.notes: list[str] = []
        """What was not done as asked."""
        self._room = engine.context_length // 2 - 1
        self._past.tokens += self._encode("initial_prompt", self._room)
        self._hotwords = self._encode("hotwords", self._room // 2)
        self._prefix = self._encode("prefix", self._room // 2)

    def _encode(self, option: str, room: int) -> list[int]:
        """The tokens of an option's text; a note where they are more than count."""
        text = getattr(self.options, option).strip()
        tokens = self.engine.tokenizer.encode(" " + text) if text else []
        if len(tokens) > room:
            which = "last" if option == "initial_prompt" else "first"
            self.notes.append(
                f"{option} has {len(tokens)} tokens; only its {which} {room} are used"
            )
        return tokens[-room:] if option == "initial_prompt" else tokens[:room]

    def obey(self, stop: StopFlag, watch: Stopwatch | None = None) -> None:
        """From now on ``stop`` ends the work; what it costs is counted anew."""
        self.stop, self._watch = stop, watch or Stopwatch()
        self.search = Search(self.engine.decoder, self.engine.vocabulary, stop, self._watch)
        self._prompt_tokens = self._answer_tokens = 0

    def alone(self, work: Work[T]) -> T:
        """The result of work on one window."""
        return self.search.alone(work)

    def worker(self, options: Options, timeline: Timeline) -> Transcriber:
        """A transcriber for a passage of the same recording, and where that lies."""
        made = Transcriber(self.engine, options, self.stop, self._watch)
        made.search, made.timeline, made.language = self.search, timeline, self.language
        return made

    def absorb(self, worker: Transcriber, segments: list[Segment]) -> list[Segment]:
        """The segments of a worker that has ended, as the next ones of this transcription."""
        self.seconds = worker.seconds
        self._logprob += worker._logprob
        self._said += worker._said
        self._prompt_tokens += worker._prompt_tokens
        self._answer_tokens += worker._answer_tokens
        for language, letters in worker._letters.items():
            self._letters[language] = self._letters.get(language, 0) + letters
        if self.language is None or self.options.multilingual:
            self.language, self.language_probability = worker.language, worker.language_probability
        numbered = [replace(each, id=self._count + i) for i, each in enumerate(segments)]
        self._count += len(numbered)
        return numbered

    @property
    def metrics(self) -> Metrics:
        """What the work has cost."""
        total, first = self._watch.seconds, self.search.first_token_after
        first = total if first is None else first
        return Metrics(
            time_to_first_token_ms=1000 * first,
            total_time_ms=1000 * total,
            prefill_tps=rate(self._prompt_tokens, first),
            decode_tps=rate(self._answer_tokens, total - first),
            ram_usage_mb=resident_megabytes(),
            prefill_tokens=self._prompt_tokens,
            decode_tokens=self._answer_tokens,
        )

    @property
    def confidence(self) -> float:
        """The average probability of a token, the geometric mean; 0 where nothing was said."""
        return math.exp(self._logprob / self._said) if self._said else 0.0

    def segments(self, blocks: Iterator[F32]) -> Generator[Segment | None, None, None]:
        """The segments in order, and None for a window in which nothing is said.

        Raises Cancelled once it is stopped, within an operation.
        """
        blocks, clips = stoppable(self.stop, blocks), self.options.clip_timestamps
        if self.options.vad and not clips:
            blocks = self.timeline.follow(blocks, self.options.vad_parameters)
        with self.engine.decoder.session() as session:
            if self.language is None and self.options.language_detection_segments > 1:
                blocks = self._detect_ahead(session, blocks)
            windows = Windows(blocks, self.engine.window_samples)
            for first, last in zip_longest(clips[::2] or [0.0], clips[1::2]):
                seek, end = round(first * FRAMES_PER_SECOND), math.inf
                if last is not None:
                    end = round(last * FRAMES_PER_SECOND)
                while seek < end:
                    samples = windows.at(seek * HOP)
                    if end < math.inf:
                        samples = samples[: (round(end) - seek) * HOP]
                    if len(samples) < HOP:
                        break
                    window = self.window(session, samples, seek / FRAMES_PER_SECOND)
                    found, advance = self.alone(window)
                    yield from found or (None,)
                    seek += advance

    def window(
        self, session: Session, samples: F32, begin: float
    ) -> Work[tuple[list[Segment], int]]:
        """The segments of the window that begins at a second, and by how many frames to move on."""
        if self.options.multilingual and self.engine.vocabulary.languages:
            self.language = None
        prefix = self._prefix
        if prefix and self._is_timed(samples):
            prefix = [self.engine.vocabulary.first_time, *prefix]
        self._prefix = []
        answer = yield from self.answer(session, samples, prefix)
        samples, answer = yield from self._from_its_beginning(session, samples, answer)
        return self.take(answer, begin, samples, session)

    def _detect_ahead(self, session: Session, blocks: Iterator[F32]) -> Iterator[F32]:
        """Set the language by several windows; the blocks with what was read of them."""
        length, read, have = self.engine.window_samples, list[F32](), 0
        while have < self.options.language_detection_segments * length:
            block = next(blocks, None)
            if block is None:
                break
            read.append(block)
            have += len(block)
        windows = Windows(iter(read), length)
        several = (windows.at(i) for i in range(0, have, length))
        found = of_windows(self.engine, self.search, session, several, self.options)
        self.set_language(returned(found))
        return chain(read, blocks)

    def set_language(self, found: DetectedLanguage) -> None:
        """What is said is in this language."""
        self.language, self.language_probability = found.language, found.probability

    @property
    def main_language(self) -> str | None:
        """The language, given or detected; of several the one that most was said in."""
        return max(self._letters, key=lambda code: self._letters[code], default=self.language)

    def _from_its_beginning(
        self, session: Session, samples: F32, answer: Answer
    ) -> Work[tuple[F32, Answer]]:
        """A window and its answer; only what the answer left out before it begins, if it did."""
        pieces, _ = split(answer.tokens, self.engine.vocabulary, len(samples) // HOP)
        if not self._is_sparse(pieces) or self.judge.is_silence(answer, samples):
            return samples, answer
        gap = first_gap(self._locate(pieces, samples, session), samples)
        if gap is None or gap.words:
            return samples, answer
        before = samples[: round(gap.end * FRAMES_PER_SECOND) * HOP]
        answer = yield from self.answer(session, before)
        return before, answer

    def answer(
        self,
        session: Session,
        samples: F32,
        begins_with: Sequence[int] = (),
        *,
        draft: bool = False,
    ) -> Work[Answer]:
        """What a window says, beginning with ``begins_with``; a ``draft`` is greedy and final.

        Raises Cancelled once it is stopped.
        """
        self._timed = self._is_timed(samples)
        if is_silent(samples):  # models invent words for it
            return Answer(list(begins_with), 0.0, 1.0, 0.0)
        self.engine.encode(session, samples, stop=self.stop)
        if self.language is None:
            chances = yield from self.search.detect_language(session)
            self.set_language(likeliest(chances))
        return (yield from self._decode(session, begins_with, draft))

    def _is_timed(self, samples: F32) -> bool:
        """Whether times are written: without them nobody knows where the next window begins."""
        return self._timed or len(samples) == self.engine.window_samples

    def _prompt(self) -> list[int]:
        v, options = self.engine.vocabulary, self.options
        prompt = v.prompt(self.language, options.task, self._timed)
        past = self._past.tokens[self._past.since :][-(self._room - len(self._hotwords)) :]
        past = [*self._hotwords, *past]
        return [v.previous, *past, *prompt] if past else prompt

    def _decode(self, session: Session, begins_with: Sequence[int], draft: bool) -> Work[Answer]:
        """The answer of the first temperature that does not look wrong, else the likeliest."""
        o = self.options
        rules = Rules(
            self.engine.vocabulary,
            timestamps=self._timed,
            max_first_time=o.max_initial_timestamp,
            suppress=o.suppress_tokens,
            suppress_blank=o.suppress_blank,
            repetition_penalty=o.repetition_penalty,
            no_repeat_ngram_size=o.no_repeat_ngram_size,
        )
        prompt = self._prompt()
        tried: list[Answer] = []
        for temperature in o.temperature:
            answer = yield from self.search.run(
                session,
                prompt,
                rules,
                beams=1 if draft else o.beam_size,
                temperature=temperature,
                best_of=o.best_of,
                patience=o.patience,
                length_penalty=o.length_penalty,
                max_tokens=o.max_new_tokens,
                seed=o.seed,
                begins_with=begins_with,
            )
            self._prompt_tokens += len(prompt)
            self._answer_tokens += len(answer.tokens) - len(begins_with)
            tried.append(answer)
            if draft or not self.judge.looks_wrong(answer):
                return answer
        limit = o.compression_ratio_threshold
        fluent = [each for each in tried if limit is None or self.judge.ratio(each) <= limit]
        best = max(fluent or tried, key=lambda each: each.average)
        # All looked wrong: the past that led here is not trusted, whichever answer is taken.
        return replace(best, temperature=tried[-1].temperature)

    def take(
        self, answer: Answer, begin: float, samples: F32, session: Session
    ) -> tuple[list[Segment], int]:
        """The segments of an answer, and by how many frames the window moves on.

        ``begin``: where the window begins, in seconds of the audio without silence; ``samples``:
        what it is; ``session`` has it as its memory. Raises Cancelled once it is stopped, while it
        looks for words.
        """
        frames, first = len(samples) // HOP, round(begin * FRAMES_PER_SECOND)
        self.seconds = self.timeline.original(begin + frames / FRAMES_PER_SECOND, end=True)
        if self.judge.is_silence(answer, samples):
            return [], frames
        again = max(0, min(frames, self._passed - first))
        if again and not self.judge.counts_again(answer, samples):
            return [], again
        pieces, usual = split(answer.tokens, self.engine.vocabulary, frames)
        pieces, advance = self._complete(answer, pieces, usual, samples, session)
        pieces = self.believed(answer, pieces, samples)
        if advance < usual:
            self._passed = max(self._passed, first + usual)
        if again:
            pieces = [each for each in pieces if not self._stands(each, again, samples)]
            if not pieces:
                return [], again
        if again or advance < usual:
            said = zip(pieces, map(said_letters, self._texts(pieces)), strict=True)
            self._heard |= {text for piece, text in said if is_heard(piece, text, samples)}
        else:
            self._heard.clear()
        ratio = self.judge.ratio(answer)
        words = self._find_words(pieces, begin, frames, advance, session)
        silence = self.options.hallucination_silence_threshold
        if words is not None and silence is not None:
            since = self._words.said_until - begin
            found = first_hallucination(words, since, frames / FRAMES_PER_SECOND, silence)
            if found:
                count, again_from = found
                pieces, words = pieces[:count], words[:count]
                advance = min(frames, round(again_from * FRAMES_PER_SECOND))
        segments: list[Segment] = []
        for i, piece in enumerate(pieces):
            placed = None if words is None else self._place(words[i], begin)
            text = self.judge.text(piece.tokens)
            if piece.start == piece.end or not text.strip() or placed == ():
                continue
            self._past.tokens += piece.tokens
            letters = said_letters(text)
            self._recent.append(letters)
            if self.language:
                self._letters[self.language] = self._letters.get(self.language, 0) + len(letters)
            times = self.timeline.original_segment(begin + piece.start, begin + piece.end)
            start, end = (round(time, 2) for time in times)
            if placed:
                start, end = placed[0].start, placed[-1].end
            end = max(end, round(start + TIME_STEP, 2))
            segments.append(
                Segment(
                    id=self._count,
                    start=start,
                    end=end,
                    text=text,
                    tokens=tuple(piece.tokens),
                    temperature=answer.temperature,
                    avg_logprob=answer.average,
                    compression_ratio=ratio,
                    no_speech_prob=answer.no_speech,
                    words=placed,
                    logprobs=self._logprobs(answer, piece),
                )
            )
            self._count += 1
        if segments:
            self._logprob += answer.total
            self._said += len(answer.tokens) + 1
        o = self.options
        if not o.condition_on_previous_text or answer.temperature > o.prompt_reset_on_temperature:
            self._past.since = len(self._past.tokens)
        return segments, advance

    def _logprobs(self, answer: Answer, piece: Piece) -> tuple[TokenLogprob, ...] | None:
        """How probable the tokens of the text of a piece are, if that is wanted."""
        if not self.options.logprobs:
            return None
        values = answer.logprobs[piece.first : piece.first + len(piece.tokens)]
        found = []
        for id, value in zip(piece.tokens, values, strict=True):
            if self.engine.vocabulary.is_text(id):
                data = self.engine.tokenizer.token_bytes_of(id)
                found.append(TokenLogprob(id, data.decode("utf-8", "replace"), data, value))
        return tuple(found)

    def believed(self, answer: Answer, pieces: list[Piece], samples: F32) -> list[Piece]:
        """The pieces that count: where an answer was drawn and looks wrong still, those that are
        heard."""
        if answer.temperature == 0 or not self.judge.looks_wrong(answer):
            return pieces
        return only_heard(pieces, self._texts(pieces), samples)

    def _complete(
        self,
        answer: Answer,
        pieces: list[Piece],
        advance: int,
        samples: F32,
        session: Session,
    ) -> tuple[list[Piece], int]:
        """The pieces that stand, and by how many frames to move on so that nothing is left out."""
        frames = len(samples) // HOP
        if self.judge.is_loop(answer):
            kept = until_repeated(pieces, self._texts(pieces))
            end = round(kept[-1].end * FRAMES_PER_SECOND) if kept else 0
            if len(kept) < len(pieces) and 0 < end < frames:
                return kept, end
            words = self._locate(pieces, samples, session)
            count = before_repetition([said_letters(each.text) for each in chain(*words)])
            if count is not None:
                at = list(chain(*words))[count].start
                if at >= 1.0:  # else the next window would say the same
                    kept = before_gap(pieces, words, Gap(at, at, count))
                    return kept, round(at * FRAMES_PER_SECOND)
        pieces = without_echoes(pieces, self._texts(pieces), self._recent, samples)
        if self._is_sparse(pieces):
            words = self._locate(pieces, samples, session)
            gap = first_gap(words, samples)
            if gap and gap.words:
                return before_gap(pieces, words, gap), round(gap.start * FRAMES_PER_SECOND)
        if pieces and is_closed(answer.tokens, self.engine.vocabulary):
            # Behind a pause models leave out whole sentences.
            end = end_of(pieces[-1], frames)
            advance = end if end < frames and speaks(samples[end * HOP :]) else frames
        return pieces, advance

    def _stands(self, piece: Piece, again: int, samples: F32) -> bool:
        """Whether a piece of the first ``again`` frames says what the segments before it do.

        What is heard in its own time, as it was before, is said twice.
        """
        letters = said_letters(self.judge.text(piece.tokens))
        if piece.start * FRAMES_PER_SECOND >= again or letters not in self._recent:
            return False
        return letters not in self._heard or not is_heard(piece, letters, samples)

    def _is_sparse(self, pieces: Sequence[Piece]) -> bool:
        return is_sparse(pieces, self._texts(pieces))

    def _texts(self, pieces: Sequence[Piece]) -> list[str]:
        return [self.judge.text(each.tokens) for each in pieces]

    def _locate(self, pieces: Sequence[Piece], samples: F32, session: Session) -> list[list[Timed]]:
        prompt = self.engine.vocabulary.prompt(self.language, self.options.task, False)
        return self._words.locate(session, pieces, prompt, len(samples) // HOP, self.stop)

    def _find_words(
        self,
        pieces: Sequence[Piece],
        begin: float,
        frames: int,
        advance: int,
        session: Session,
    ) -> list[list[Timed]] | None:
        """The words of each piece, with their times in the window, if they are wanted."""
        if not self.options.word_timestamps:
            return None
        if not pieces:
            return []
        prompt = self.engine.vocabulary.prompt(self.language, self.options.task, False)
        return self._words.find(
            session, pieces, prompt, self.language, begin, frames, advance, self.stop
        )

    def _place(self, words: Sequence[Timed], begin: float) -> tuple[Word, ...]:
        """Words with their times in the whole recording; each lasts a hundredth at least."""
        placed: list[Word] = []
        for word in words:
            times = self.timeline.original_span(begin + word.start, begin + word.end)
            start, end = (round(time, 2) for time in times)
            if placed:
                start = max(start, placed[-1].end)
            end = max(end, round(start + 0.01, 2))
            placed.append(Word(start, end, word.text, word.probability))
        return tuple(placed)
