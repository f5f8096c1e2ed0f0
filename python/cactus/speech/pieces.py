"""Where the segments of an answer begin and end, and where the next window should begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import east_asian_width

from cactus.speech.vocabulary import Vocabulary
from cactus.speech.window import FRAMES_PER_SECOND

LEFT_OUT = 5.0
"""Seconds behind an answer's last time that it may leave out where it claims silence.

Speakers pause for less, and a last time may be early by two seconds.
"""
SLOWEST, SLOWEST_WIDE = 6.0, 2.0
"""Characters a second of slow speech: letters, and the wide ones that are a syllable or more each.

Most speakers say more than twice as many.
"""


@dataclass(frozen=True)
class Piece:
    """A part of an answer: its tokens, and its times in seconds from the window's start.

    `first`: the place of its first token in the answer.
    """

    start: float
    end: float
    tokens: Sequence[int]
    first: int = 0


def split(tokens: Sequence[int], vocabulary: Vocabulary, frames: int) -> tuple[list[Piece], int]:
    """The pieces of an answer to a window of ``frames``, and by how many frames to move on.

    A time that follows a time ends one piece for certain and begins the next. What comes after the
    last such pair may have been cut off; it comes again with the next window. An answer
    without pairs is one piece. One that ends with a time says that the rest is silent.
    """
    whole = frames / FRAMES_PER_SECOND
    is_time = [id >= vocabulary.first_time for id in tokens]
    ends = [i for i in range(1, len(tokens)) if is_time[i - 1] and is_time[i]]
    if not ends:
        return _undivided(tokens, vocabulary, whole), frames
    closed = is_closed(tokens, vocabulary)
    if closed:
        ends.append(len(tokens))
    pieces = []
    for first, end in zip([0, *ends], ends, strict=False):
        piece = tokens[first:end]
        # A short window is filled up with silence; nothing was said behind its end.
        start, stop = (min(vocabulary.seconds(id), whole) for id in (piece[0], piece[-1]))
        pieces.append(Piece(start, stop, piece, first))
    if closed:
        return pieces, frames
    advance = min(round(vocabulary.seconds(tokens[ends[-1] - 1]) * FRAMES_PER_SECOND), frames)
    # A first time pair at 0.00 would move nothing: the rules forbid it, but a window must end.
    return pieces, advance or frames


def _undivided(tokens: Sequence[int], vocabulary: Vocabulary, whole: float) -> list[Piece]:
    if not tokens:
        return []
    times = [vocabulary.seconds(id) for id in tokens if id >= vocabulary.first_time]
    start = times[0] if tokens[0] >= vocabulary.first_time else 0.0
    # Text behind the only time there is has no end of its own: it may go on to the window's.
    end = times[-1] if times and times[-1] > start else whole
    return [Piece(min(start, whole), min(end, whole), tokens)]


def is_closed(tokens: Sequence[int], vocabulary: Vocabulary) -> bool:
    """Whether an answer ends with a time: nothing was being said at its window's end."""
    return [id >= vocabulary.first_time for id in tokens[-2:]] == [False, True]


def end_of(last: Piece, frames: int) -> int:
    """The frame in which a closed answer ends; the window's end unless it leaves out too much."""
    spoken = round(last.end * FRAMES_PER_SECOND)
    return spoken if 0 < spoken < frames - LEFT_OUT * FRAMES_PER_SECOND else frames


def needs(text: str) -> float:
    """The seconds that the slowest speakers take for a text."""
    wide = sum(east_asian_width(each) in "WF" for each in text)
    return 1.0 + wide / SLOWEST_WIDE + (len(text.strip()) - wide) / SLOWEST
