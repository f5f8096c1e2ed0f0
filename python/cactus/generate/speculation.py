"""Speculation without a draft model: what followed the last words before, may follow them again.

An answer that quotes its prompt, or itself, can be guessed by looking up where its last tokens
stood before. A step that is given the guesses too says what the model would choose after each of
them, in less time than a step for each. What the model says decides, so the answer is the same to
the last bit. Wrong guesses cost time: they are made only where the answer so far, and the measured
times of steps, say that they pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from cactus.engine.costs import MOST, StepCosts

LONGEST = 8
"""Of longer agreements than this many tokens the last one is as good as any."""

GAIN = 1.05
"""How much faster a step with guesses must promise to be: promises have errors."""


class Lookup:
    """Where the last three tokens of `ids`, or else the last two, stood before.

    Of several places the last one counts; one that has led to a right guess is followed on.
    """

    def __init__(self, ids: Sequence[int]) -> None:
        self._ids = list(ids)
        # In C, and of equal keys the later one stays. A value is the position after its key: the
        # last tokens, which are looked for, have none and are left out.
        self._pairs = dict(zip(pairwise(ids), range(2, len(ids)), strict=False))
        triples = zip(ids, ids[1:], ids[2:], strict=False)
        self._triples = dict(zip(triples, range(3, len(ids)), strict=False))
        self._place = 0
        self.agreed = 0
        """How many of the last tokens, LONGEST at most, stand before the guesses; 0: no guess."""
        self._find()

    def guesses(self, count: int) -> list[int]:
        """What followed there: at most `count` tokens."""
        return self._ids[self._place : self._place + count] if self.agreed else []

    def append(self, token: int) -> None:
        """`token` is what came next."""
        ids = self._ids
        followed = self.agreed > 0 and ids[self._place] == token
        end = len(ids)
        if end > 1:
            self._pairs[ids[-2], ids[-1]] = end
        if end > 2:
            self._triples[ids[-3], ids[-2], ids[-1]] = end
        ids.append(token)
        if followed:
            self._place += 1
            self.agreed = min(self.agreed + 1, LONGEST)
        else:
            self._find()

    def _find(self) -> None:
        ids = self._ids
        self.agreed = 0
        if len(ids) < 3:
            return
        place = self._triples.get((ids[-3], ids[-2], ids[-1])) or self._pairs.get(
            (ids[-2], ids[-1])
        )
        if place is None:
            return
        agreed = 2
        while agreed < min(LONGEST, place) and ids[place - agreed - 1] == ids[-agreed - 1]:
            agreed += 1
        self._place, self.agreed = place, agreed


class Speculation:
    """Guesses for one answer of at most `limit` tokens after `ids`."""

    # Of the tokens that stand after so many agreeing ones, the share that is right; and with how
    # many observations that is believed. Measured on the prompts of benchmarks/speculation.py.
    CHANCES = (0, 0, 0.3, 0.45, 0.55, 0.65, 0.7, 0.8, 0.85)
    BELIEF = 4

    def __init__(self, ids: Sequence[int], limit: int, costs: StepCosts) -> None:
        self._lookup = Lookup(ids)
        self._left = limit
        self.costs = costs
        self._right = [chance * self.BELIEF for chance in self.CHANCES]
        self._tried = [float(self.BELIEF) for _ in self.CHANCES]

    def guess(self, room: int) -> list[int]:
        """The tokens to feed after the last one in the next step: as many as pay, or none."""
        guesses = self._lookup.guesses(min(room, MOST, self._left - 1))
        if guesses:
            del guesses[self._worthwhile(len(guesses)) :]
        return guesses

    def learn(self, tokens: Sequence[int]) -> None:
        """The answer goes on with `tokens`."""
        self._left -= len(tokens)
        for token in tokens:
            agreed = self._lookup.agreed
            if agreed:
                self._tried[agreed] += 1
                self._right[agreed] += self._lookup.guesses(1)[0] == token
            self._lookup.append(token)

    def _worthwhile(self, count: int) -> int:
        """How many of `count` guesses give the most tokens in a given time; 0 if none do."""
        best, best_rate = 0, GAIN
        chance = tokens = 1.0
        for guessed in range(1, count + 1):
            agreed = min(self._lookup.agreed + guessed - 1, LONGEST)
            chance *= self._right[agreed] / self._tried[agreed]
            tokens += chance
            rate = tokens / self.costs.of(1 + guessed)
            if rate > best_rate:
                best, best_rate = guessed, rate
        return best
