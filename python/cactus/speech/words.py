"""When each word was said, from where the decoder attended while it said it.

Dynamic time warping over the cross-attention of the heads that follow the sound, as published with
Whisper (Radford et al. 2022): text and time both only go forward, along the strongest attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MEDIAN_WIDTH = 7
_NO_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
_BEFORE = "\"'“¿([{-"
_AFTER = "\"'.。,，!！?？:：”)]}、"


@dataclass
class Timed:
    """A word while it is being put together: its text, its ids, and its times in the window."""

    text: str
    tokens: list[int]
    start: float = 0.0
    end: float = 0.0
    probability: float = 0.0


def attention_map(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Attention [heads, tokens, states] -> [tokens, states]: standard scores, then averaged."""
    mean = weights.mean(axis=1, keepdims=True)
    deviation = weights.std(axis=1, keepdims=True)
    scores = (weights - mean) / np.maximum(deviation, np.float32(1e-10))
    half = MEDIAN_WIDTH // 2
    if scores.shape[2] > half:
        padded = np.pad(scores, ((0, 0), (0, 0), (half, half)), mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, MEDIAN_WIDTH, axis=2)
        scores = np.median(windows, axis=3)
    result: NDArray[np.float32] = scores.mean(axis=0)
    return result


def warp(cost: NDArray[np.float32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The cheapest way through ``cost`` [tokens, states], forward in both: (tokens, states) of it.

    Along a row the cost of every way in is a difference of prefix sums, so that the best way to
    each place is a running minimum.
    """
    rows, cols = cost.shape
    total = np.full(cols + 1, np.inf)
    total[0] = 0.0
    trace = np.zeros((rows + 1, cols + 1), np.int8)  # 0 both forward, 1 the token, 2 the state
    for i in range(1, rows + 1):
        both, token = total[:-1], total[1:]
        entered = np.minimum(both, token)
        sums = np.cumsum(cost[i - 1], dtype=np.float64)
        way_in = entered - (sums - cost[i - 1])
        best = np.minimum.accumulate(way_in)
        trace[i, 1:] = np.where(best < way_in, 2, np.where(both <= token, 0, 1))
        total = np.concatenate([[np.inf], best + sums])
    i, j = rows, cols
    path = []
    while i > 0 and j > 0:
        path.append((i - 1, j - 1))
        step = trace[i, j]
        i -= step != 2
        j -= step != 1
    tokens, states = np.array(path[::-1], np.intp).T
    return tokens, states


def split_words(tokens: Sequence[int], texts: Sequence[str], language: str | None) -> list[Timed]:
    """Words of an answer, given each id's part of the text ("" while a character is incomplete).

    A word begins with a blank or a punctuation mark; in languages without blanks, with every
    character.
    """
    units: list[Timed] = []
    held: list[int] = []
    for token, text in zip(tokens, texts, strict=True):
        held.append(token)
        if text:
            units.append(Timed(text, held))
            held = []
    if held and units:
        units[-1].tokens += held
    if language in _NO_SPACES:
        return units
    words: list[Timed] = []
    for unit in units:
        begins = unit.text.startswith(" ") or unit.text.strip() in _PUNCTUATION
        if begins or not words:
            words.append(unit)
        else:
            words[-1].text += unit.text
            words[-1].tokens += unit.tokens
    return words


def attach_punctuation(words: list[Timed]) -> list[Timed]:
    """Opening marks join the word that follows, closing ones the word before."""
    joined: list[Timed] = []
    for word in words:
        mark = word.text.strip()
        closes = bool(mark) and set(mark) <= set(_AFTER)
        if joined and closes and not joined[-1].text.endswith(" "):
            joined[-1].text += word.text
            joined[-1].tokens += word.tokens
        elif joined and joined[-1].text.startswith(" ") and joined[-1].text.strip() in _OPENING:
            opening = joined.pop()
            word.text = opening.text + word.text
            word.tokens = opening.tokens + word.tokens
            word.start = opening.start if opening.end > opening.start else word.start
            joined.append(word)
        else:
            joined.append(word)
    return joined


_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_OPENING = frozenset(_BEFORE)


def limit_durations(words: list[Timed]) -> None:
    """Words that a pause was added to are cut to twice the usual length, as published."""
    lengths = sorted(word.end - word.start for word in words if word.end > word.start)
    if not lengths:
        return
    usual = min(0.7, lengths[len(lengths) // 2])
    longest = 2 * usual
    marks = ".。!！?？"
    for i, word in enumerate(words):
        if word.end - word.start <= longest:
            continue
        if i > 0 and words[i - 1].text.strip()[-1:] in marks and i + 1 < len(words):
            word.start = word.end - longest  # the pause lies before a new sentence
        elif word.text.strip()[-1:] in marks or i + 1 == len(words):
            word.end = word.start + longest
