"""When each word was said, from where the decoder attended while it wrote it.

Dynamic time warping over the cross-attention of the heads that follow the audio, as published with
Whisper (Radford et al. 2022): text and time both only go forward, along the strongest attention.
What a pause adds to a word is taken from it again by the published rules.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from statistics import median

import numpy as np
from numpy.typing import NDArray

from cactus.audio.decode import F32
from cactus.calls.stop_flag import StopFlag
from cactus.models.whisper import FRAMES_PER_ROW
from cactus.native import Session
from cactus.speech.alignment import Alignment
from cactus.speech.engine import SpeechEngine
from cactus.speech.pieces import Piece
from cactus.speech.search import softmax
from cactus.speech.window import FRAMES_PER_SECOND

STATES_PER_SECOND = FRAMES_PER_SECOND // FRAMES_PER_ROW
"""States of the encoder, among which a word's times are found."""
MEDIAN_WIDTH = 7
LATE = 3 * FRAMES_PER_SECOND
"""Frames by which the times that the decoder writes may be early."""
LONGEST_USUAL = 0.7
"""Seconds that a word usually takes at most; twice that is too long where a pause is near."""

_WITHOUT_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
_MARKS = frozenset(string.punctuation)
_OPENING = frozenset("\"'“¿([{-")
_CLOSING = frozenset("\"'.。,，!！?？:：”)]}、")
_ENDING = frozenset(".。!！?？")


@dataclass
class Timed:
    """A word while it is put together: text, number of tokens, times in seconds of its window."""

    text: str
    tokens: int
    start: float = 0.0
    end: float = 0.0
    probability: float = 0.0
    peak: float = 0.0
    """Where the decoder attended most while it wrote the word."""

    @property
    def length(self) -> float:
        """Seconds from start to end."""
        return self.end - self.start


class WordFinder:
    """The words of a recording's pieces, window by window."""

    def __init__(self, engine: SpeechEngine) -> None:
        self._engine = engine
        self.said_until = 0.0
        """When the last word ended, in seconds of the audio."""

    def find(
        self,
        session: Session,
        pieces: Sequence[Piece],
        prompt: Sequence[int],
        language: str | None,
        begin: float,
        frames: int,
        advance: int,
        stop: StopFlag | None = None,
    ) -> list[list[Timed]]:
        """The words of each piece of the window that is the memory of ``session``.

        ``prompt`` says what was done (without times), ``begin`` where in the recording the window
        lies, ``frames`` how much of it is audio, ``advance`` where the next one begins. Raises
        Cancelled once ``stop`` is set.
        """
        parts, found = self._align(session, pieces, prompt, frames, stop)
        if found is None:
            return [[] for _ in pieces]
        words = [split_words(self._spell(part), language) for part in parts]
        every = [*chain(*words)]
        # What comes behind belongs to the next window, and no word of this one is there. But where
        # the last one finds no room, the window's end came too early.
        for end in sorted({min(frames, advance), min(frames, advance + LATE)}):
            place(every, found, len(prompt), end)
            if has_room(every):
                break
        usual = usual_length(every)
        shorten_at_marks(every, usual)
        words = [attach_marks(each) for each in words]
        for i, (piece, each) in enumerate(zip(pieces, words, strict=True)):
            if each:
                since = self.said_until - begin
                begin_after(each, since)
                fit(each, piece.start, piece.end, since, usual)
                if not make_room(each, max(since, 0.0), frames / FRAMES_PER_SECOND):
                    words[i] = []  # it lies where others were said, or behind the end
                    continue
                self.said_until = begin + each[-1].end
        return words

    def locate(
        self,
        session: Session,
        pieces: Sequence[Piece],
        prompt: Sequence[int],
        frames: int,
        stop: StopFlag | None = None,
    ) -> list[list[Timed]]:
        """Where the words of each piece are: contiguous, each with its ``peak``."""
        parts, found = self._align(session, pieces, prompt, frames, stop)
        words = [split_words(self._spell(part), None) for part in parts]
        if found is not None:
            place([*chain(*words)], found, len(prompt), frames)
        return words

    def _align(
        self,
        session: Session,
        pieces: Sequence[Piece],
        prompt: Sequence[int],
        frames: int,
        stop: StopFlag | None,
    ) -> tuple[list[list[int]], Alignment | None]:
        """The text of each piece as tokens, and where the decoder attends for them, if to any."""
        parts = [self._text(piece.tokens) for piece in pieces]
        tokens, states = [*chain(*parts)], frames // FRAMES_PER_ROW
        if not tokens or states == 0:
            return parts, None
        text = self._engine.vocabulary.end  # the first id that is not one
        said = [*prompt, *tokens, text][: self._engine.context_length]
        return parts, self._engine.aligner.align(session, said, states=states, text=text, stop=stop)

    def _text(self, tokens: Sequence[int]) -> list[int]:
        return [id for id in tokens if self._engine.vocabulary.is_text(id)]

    def _spell(self, tokens: Sequence[int]) -> list[str]:
        stream = self._engine.tokenizer.stream()
        parts = [*map(stream.push, tokens)]
        return [*parts[:-1], *(part + stream.flush() for part in parts[-1:])]


def attention_map(weights: F32) -> F32:
    """Attention ``[heads, tokens, states]`` to ``[tokens, states]``: the heads' average.

    Each state is in standard scores over the tokens first, and smoothed over its neighbours.
    """
    total = np.zeros(weights.shape[1:], np.float32)
    for head in weights:
        deviation = np.maximum(head.std(axis=0), np.float32(1e-10))
        total += _smooth((head - head.mean(axis=0)) / deviation)
    total /= len(weights)
    return total


def _smooth(scores: F32) -> F32:
    """The median of the ``MEDIAN_WIDTH`` columns around each; the borders are mirrored."""
    half, states = MEDIAN_WIDTH // 2, scores.shape[1]
    if states <= half:
        return scores
    padded = np.pad(scores, ((0, 0), (half, half)), mode="reflect")
    return _median([padded[:, i : i + states] for i in range(MEDIAN_WIDTH)])


def _median(values: list[F32]) -> F32:
    """The median of an odd number of arrays, element by element.

    Of a little more than half of them neither the least nor the greatest can be it: both go, the
    next one comes. On whole arrays that is ten times as fast as sorting.
    """
    held, waiting = values[: len(values) // 2 + 2], values[len(values) // 2 + 2 :]
    while len(held) > 1:
        for i in reversed(range(len(held) - 1)):
            _order(held, i)
        for i in range(1, len(held) - 1):
            _order(held, i)
        held, waiting = held[1:-1] + waiting[:1], waiting[1:]
    return held[0]


def _order(arrays: list[F32], i: int) -> None:
    low, high = arrays[i : i + 2]
    arrays[i : i + 2] = np.minimum(low, high), np.maximum(low, high)


def warp(cost: F32) -> NDArray[np.intp]:
    """The first state of each token on the cheapest way through ``cost`` ``[tokens, states]``.

    The way begins at the first token and state, ends at the last ones, and each step goes on in
    one or in both. Along a token the cost of every way in is a difference of prefix sums, so that
    the best way to each state is a running minimum.
    """
    tokens, states = cost.shape
    total = np.full(states + 1, np.inf)  # of the token before, shifted by one state
    total[0] = 0.0
    entry = np.empty((tokens, states), np.intp)
    stays = np.empty((tokens, states), np.bool_)  # whether a token begins where the last one ends
    for i, row in enumerate(cost.astype(np.float64)):
        sums = np.cumsum(row)
        way_in = np.minimum(total[:-1], total[1:]) - (sums - row)
        best = np.minimum.accumulate(way_in)
        entry[i] = np.maximum.accumulate(np.where(way_in <= best, np.arange(states), 0))
        stays[i] = total[1:] < total[:-1]
        total[0], total[1:] = np.inf, best + sums
    first = np.empty(tokens, np.intp)
    state = states - 1
    for i in reversed(range(tokens)):
        first[i] = state = entry[i, state]
        state -= not stays[i, state]
    return first


def split_words(texts: Sequence[str], language: str | None) -> list[Timed]:
    """The words of a text, given each token's part of it ("" while a character is incomplete).

    A word begins with a space or is a mark; in languages without spaces each character is one.
    Their texts, joined, are the text.
    """
    units: list[Timed] = []
    held = 0
    for text in texts:
        held += 1
        if text:
            units.append(Timed(text, held))
            held = 0
    if held:
        units = units or [Timed("", 0)]
        units[-1].tokens += held
    if language in _WITHOUT_SPACES:
        return units
    words = units[:1]
    for unit in units[1:]:
        if unit.text.startswith(" ") or unit.text.strip() in _MARKS:
            words.append(unit)
        else:
            words[-1].text += unit.text
            words[-1].tokens += unit.tokens
    return words


def attach_marks(words: Sequence[Timed]) -> list[Timed]:
    """Opening marks become part of the word that follows, closing ones of the word before.

    A word keeps its times: what a mark took was a pause.
    """
    joined: list[Timed] = []
    opening: list[Timed] = []
    for word in words:
        mark = word.text.strip()
        if word is not words[-1] and word.text.startswith(" ") and (not mark or mark in _OPENING):
            opening.append(word)
            continue
        if joined and not opening and mark and set(mark) <= _CLOSING:
            joined[-1].text += word.text
            joined[-1].tokens += word.tokens
            continue
        word.text = "".join(each.text for each in opening) + word.text
        word.tokens += sum(each.tokens for each in opening)
        opening = []
        joined.append(word)
    return joined


def place(words: Sequence[Timed], found: Alignment, prompt: int, frames: int) -> None:
    """Set the times of consecutive words, which lie within the first ``frames`` of a window.

    ``prompt``: tokens before those of the words. The row of a token tells where the next one is
    written: the rows are those from the prompt's last token on.
    """
    rows = slice(prompt - 1, prompt + sum(word.tokens for word in words))
    states = max(1, frames // FRAMES_PER_ROW)
    attention = attention_map(softmax(found.scores[..., :states]))[rows]
    set_times(words, warp(-attention), found.probabilities[rows])
    token = 0
    for word in words:
        span = slice(*(round(time * STATES_PER_SECOND) for time in (word.start, word.end)))
        strongest = attention[token : token + word.tokens, span].max(axis=0, initial=-np.inf)
        peak = int(strongest.argmax()) if len(strongest) else 0
        word.peak = word.start + peak / STATES_PER_SECOND
        token += word.tokens


def set_times(words: Sequence[Timed], first: NDArray[np.intp], probabilities: F32) -> None:
    """Times and probabilities of consecutive words, from those of their tokens.

    ``first`` is where each token begins, and at its end where the last one ends.
    """
    token = 0
    for word in words:
        last = token + word.tokens
        word.start = int(first[token]) / STATES_PER_SECOND
        word.end = int(first[last]) / STATES_PER_SECOND
        word.probability = float(probabilities[token:last].mean())
        token = last


def make_room(words: Sequence[Timed], since: float, limit: float) -> bool:
    """Give every word between ``since`` and ``limit`` a time of its own; False without room."""
    least = 1 / STATES_PER_SECOND
    if limit - since < least * len(words):
        return False
    at = since
    for word in words:
        word.start = max(word.start, at)
        at = word.end = max(word.end, word.start + least)
    at = limit
    for word in reversed(words):
        if word.end > at:
            word.end = at
            word.start = min(word.start, at - least)
        at = word.start
    return True


def has_room(words: Sequence[Timed]) -> bool:
    """Whether the last word, marks left aside, takes any time."""
    last = next((word for word in reversed(words) if word.text.strip() not in _MARKS), None)
    return last is None or last.length > 0


def begin_after(words: Sequence[Timed], since: float) -> None:
    """No word begins before ``since``, when the last one of the window before it ended."""
    for word in words:
        word.start, word.end = max(word.start, since), max(word.end, since)


def usual_length(words: Sequence[Timed]) -> float:
    """Seconds that a word takes, by the median; 0 where no word takes any."""
    return min(LONGEST_USUAL, median([word.length for word in words if word.length > 0] or [0.0]))


def shorten_at_marks(words: Sequence[Timed], usual: float) -> None:
    """Where a sentence ends, neither the mark nor the next word is longer than twice the usual."""
    for before, word in pairwise(words):
        if word.length <= 2 * usual:
            continue
        if word.text.strip() in _ENDING:
            word.end = word.start + 2 * usual
        elif before.text.strip() in _ENDING:
            word.start = word.end - 2 * usual


def fit(words: Sequence[Timed], start: float, end: float, since: float, usual: float) -> None:
    """Take pauses from the first and the last word of a segment, which lasts from start to end.

    ``since`` is when the last word before it was said. Words only become shorter.
    """
    first, last = words[0], words[-1]
    second = words[1] if len(words) > 1 else None
    if first.end - since > 4 * usual and (
        first.length > 2 * usual or (second and second.end - first.start > 4 * usual)
    ):
        if second and second.length > 2 * usual:
            first.end = second.start = second.end - 2 * usual
        first.start = max(first.start, first.end - 2 * usual)
    # Where the decoder's own times differ much, the word has been stretched over a pause.
    if first.start + 0.5 < start < first.end:
        first.start = max(first.start, min(first.end - usual, start))
    if last.start < end < last.end - 0.5:
        last.end = min(last.end, max(last.start + usual, end))
