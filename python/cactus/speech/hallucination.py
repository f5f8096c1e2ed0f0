"""Text that nobody said, by its words: few, unlikely, too short or too long, with silence around.

The scores are those that Whisper's authors published with ``hallucination_silence_threshold``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from cactus.speech.words import Timed

UNLIKELY = 0.15
"""Below this probability a word is odd."""
SHORT, LONG = 0.133, 2.0
"""Seconds: a word that lasts less, or more, is odd the more it does."""
FIRST = 8
"""Words of a segment that are looked at."""
AT_BORDER = 2.0
"""Seconds from either end of a window that count as silence beside it."""


def is_odd(words: Sequence[Timed]) -> bool:
    """Whether the words of a segment look as if nobody had said them."""
    looked = [word for word in words if any(map(str.isalnum, word.text))][:FIRST]
    score = sum(map(_oddity, looked))
    return bool(looked) and (score >= 3 or score + 0.01 >= len(looked))


def _oddity(word: Timed) -> float:
    score = 1.0 if word.probability < UNLIKELY else 0.0
    score += max(0.0, SHORT - word.length) * 15
    return score + max(0.0, word.length - LONG)


def first_hallucination(
    segments: Sequence[Sequence[Timed]], since: float, whole: float, silence: float
) -> tuple[int, float] | None:
    """How many segments of a window stand, and from which second on to transcribe it again.

    ``since`` is when the last word before the window ended (0 or less), ``whole`` how long the
    window is, and more than ``silence`` seconds beside an odd segment make it a hallucination.
    None where there is none.
    """
    there = [(i, words) for i, words in enumerate(segments) if words]
    if there and is_odd(there[0][1]) and there[0][1][0].start > silence:
        return 0, there[0][1][0].start
    last = since
    for (i, words), (_, following) in pairwise([*there, (len(segments), [])]):
        start, end = words[0].start, words[-1].end
        if is_odd(words):
            before = start - last > silence or start < AT_BORDER
            then = following[0].start if following else whole
            behind = then - end > silence or is_odd(following) or whole - end < AT_BORDER
            if before and behind:
                return i, max(1.0, start)
        last = end
    return None
