"""What an answer leaves out: speech of its window that its text is too short to have written.

Models sometimes write a sentence and draw its times over half a minute in which others are said.
Where they attended while they wrote each word shows where it was, and so what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from cactus.audio.decode import F32
from cactus.speech.judge import speaks
from cactus.speech.pieces import LEFT_OUT, Piece, needs
from cactus.speech.window import FRAMES_PER_SECOND, HOP
from cactus.speech.words import Timed

AROUND = 1.0
"""Seconds around the place where a word was attended to that it may last."""
MUCH = 1.0
"""Seconds of speech in all that are worth another pass."""


@dataclass(frozen=True)
class Gap:
    """Seconds of a window in which speech was left out, behind its first ``words`` words."""

    start: float
    end: float
    words: int


def is_sparse(pieces: Sequence[Piece], texts: Sequence[str]) -> bool:
    """Whether a piece lasts much longer than the slowest speakers take for its text."""
    return any(
        piece.end - piece.start > needs(text) + LEFT_OUT
        for piece, text in zip(pieces, texts, strict=True)
    )


def first_gap(words: Sequence[Sequence[Timed]], samples: F32) -> Gap | None:
    """The first place where a word seems to last while others speak; None where there is none.

    ``words`` are those of each piece, contiguous, with the ``peak`` of the attention to them.
    """
    for count, word in enumerate(chain.from_iterable(words)):
        before = Gap(word.start, word.peak - AROUND, count)
        behind = Gap(word.peak + AROUND, word.end, count + 1)
        for gap in (before, behind):
            span = slice(*(round(t * FRAMES_PER_SECOND) * HOP for t in (gap.start, gap.end)))
            if gap.end - gap.start > LEFT_OUT and speaks(samples[span], MUCH):
                return gap
    return None


def before_gap(pieces: Sequence[Piece], words: Sequence[Sequence[Timed]], gap: Gap) -> list[Piece]:
    """The pieces with only those words that come before a gap; the last one ends there."""
    kept: list[Piece] = []
    left = gap.words
    for piece, each in zip(pieces, words, strict=True):
        if left < len(each):
            if left:
                # The time before its text stays, where there is one.
                spare = len(piece.tokens) - sum(word.tokens for word in each)
                count = min(spare, 1) + sum(word.tokens for word in each[:left])
                end, tokens = min(gap.start, piece.end), piece.tokens[:count]
                kept.append(replace(piece, end=end, tokens=tokens))
            break
        kept.append(piece)
        left -= len(each)
    return kept
