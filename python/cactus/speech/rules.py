"""What Whisper may say next: tokens that are never said, and timestamps in order.

The rules are those of the published implementation (Radford et al. 2022, section 4.5 and its code):
they are part of what the models were measured with. They change logits in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cactus.speech.vocabulary import TIME_STEP, Vocabulary

Logits = NDArray[np.float32]

NEVER = np.float32(-np.inf)


class Rules:
    """The rules for one window: ``apply(logits, said)`` before each choice.

    ``timestamps``: whether times are wanted. ``max_first_time``: the first one is at most so many
    seconds into the window. ``suppress``: ids never chosen, -1 for those that the model lists.
    ``repetition_penalty`` divides the positive logits of what was said, and multiplies the others.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        timestamps: bool,
        max_first_time: float = 1.0,
        suppress: Sequence[int] = (-1,),
        suppress_blank: bool = True,
        repetition_penalty: float = 1.0,
        no_repeat_ngram_size: int = 0,
    ) -> None:
        self.vocabulary, self.timestamps = vocabulary, timestamps
        size = vocabulary.size
        listed = vocabulary.silent if -1 in suppress else vocabulary.steering
        self._silent = _in_range(listed | {id for id in suppress if id >= 0}, size)
        first = vocabulary.silent_first if suppress_blank else frozenset[int]()
        self._first = _in_range(first, size)
        self._latest_first = vocabulary.first_time + round(max_first_time / TIME_STEP)
        self._penalty, self._ngram = repetition_penalty, no_repeat_ngram_size

    def apply(self, logits: Logits, said: list[int]) -> None:
        """Forbid what may not follow ``said``, the answer so far."""
        v = self.vocabulary
        self._avoid_repetition(logits, said)
        logits[self._silent] = NEVER
        if not said:
            logits[self._first] = NEVER
        if not self.timestamps:
            logits[v.first_time :] = NEVER
            return
        self._order_times(logits, said)
        # Where all times together are likelier than any single piece of text, it is a time.
        times, text = logits[v.first_time :], logits[: v.first_time]
        most = float(times.max())
        if most > -np.inf:
            all_times = most + float(np.log(np.exp(times - np.float32(most)).sum()))
            if all_times > float(text.max()):
                text[:] = NEVER

    def _avoid_repetition(self, logits: Logits, said: list[int]) -> None:
        if self._penalty != 1 and said:
            ids = np.unique(said)
            values = logits[ids]
            logits[ids] = np.where(values > 0, values / self._penalty, values * self._penalty)
        n = self._ngram
        if n and len(said) >= n:
            last = said[len(said) - n + 1 :]
            starts = range(len(said) - n + 1)
            logits[[said[i + n - 1] for i in starts if said[i : i + n - 1] == last]] = NEVER

    def _order_times(self, logits: Logits, said: list[int]) -> None:
        v = self.vocabulary
        if not said:
            logits[: v.first_time] = NEVER
            logits[self._latest_first + 1 :] = NEVER
            return
        last_is_time = said[-1] >= v.first_time
        if last_is_time:
            # Times come in pairs, an end and the next beginning, or one before the end of text.
            if len(said) < 2 or said[-2] >= v.first_time:
                logits[v.first_time :] = NEVER
            else:
                logits[: v.end] = NEVER
        times = [id for id in said if id >= v.first_time]
        if times:
            # A segment does not end before it begins, nor where it begins.
            paired = last_is_time and not (len(said) < 2 or said[-2] >= v.first_time)
            earliest = times[-1] if paired else times[-1] + 1
            logits[v.first_time : earliest] = NEVER


def _in_range(ids: frozenset[int], size: int) -> NDArray[np.intp]:
    return np.array(sorted(id for id in ids if id < size), np.intp)
