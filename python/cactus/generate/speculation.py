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
from typing import Protocol

from cactus.engine.costs import MOST, StepCosts
from cactus.generate.drafting import Drafting

LONGEST = 8
"""Of longer agreements than this many tokens the last one is as good as any."""

GAIN = 1.12
"""How much faster a step with guesses must promise to be: promises have errors, and steps without
guesses are made several in a row, in one call."""


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
    """Guesses for one answer of at most `limit` tokens after `ids`.

    They are looked up, or drafted where the model has a draft: `drafting` has those.
    """

    # Of the tokens that stand after so many agreeing ones, the share that is right; and with how
    # many observations that is believed. Measured on the prompts of benchmarks/speculation.py.
    CHANCES = (0, 0, 0.3, 0.45, 0.55, 0.65, 0.7, 0.8, 0.85)
    BELIEF = 4

    def __init__(self, ids: Sequence[int], limit: int, drafting: Drafting | None = None) -> None:
        self._lookup = Lookup(ids)
        self._left = limit
        self.drafting = drafting
        self._right = [chance * self.BELIEF for chance in self.CHANCES]
        self._tried = [float(self.BELIEF) for _ in self.CHANCES]

    @property
    def ready(self) -> bool:
        """Whether there is a token to guess now."""
        return self._lookup.agreed > 0 or bool(self.drafting and self.drafting.chain)

    @property
    def likely(self) -> bool:
        """Whether the token that comes next can be guessed, and the guess is right more often than
        not."""
        agreed = self._lookup.agreed
        return agreed > 0 and 2 * self._right[agreed] > self._tried[agreed]

    def chances(self, room: int) -> list[float]:
        """Of each token that can be guessed now, how likely it and those before it are right."""
        drafted = self._drafted()
        return self.looked_up(room) if drafted is None else drafted.chances()[:room]

    def _drafted(self) -> Drafting | None:
        """The guesses of the draft, if it has made some; but those that are likelier looked up."""
        drafting = self.drafting
        if drafting is None or not drafting.chain:
            return None
        if self._lookup.agreed and sum(self.looked_up(MOST)) > sum(drafting.chances()):
            return None
        return drafting

    def looked_up(self, room: int) -> list[float]:
        """The chances of what can be looked up."""
        found: list[float] = []
        if self._lookup.agreed:
            chance = 1.0
            for n, _ in enumerate(self._lookup.guesses(min(room, MOST, max(0, self._left - 1)))):
                agreed = min(self._lookup.agreed + n, LONGEST)
                chance *= self._right[agreed] / self._tried[agreed]
                found.append(chance)
        return found

    def guess(self, count: int) -> list[int]:
        """The tokens to feed after the last one in the next step."""
        drafted = self._drafted()
        if drafted is not None:
            return [token for token, _ in drafted.chain[:count]]
        return self._lookup.guesses(count)

    def learn(self, tokens: Sequence[int]) -> None:
        """The answer goes on with `tokens`."""
        self._left -= len(tokens)
        if self.drafting is not None:
            self.drafting.learn(tokens)
        for token in tokens:
            agreed = self._lookup.agreed
            if agreed:
                self._tried[agreed] += 1
                self._right[agreed] += self._lookup.guesses(1)[0] == token
            self._lookup.append(token)


class Guessing(Protocol):
    """An answer of which some tokens can be known before they are chosen."""

    def chances(self, room: int, /) -> list[float]:
        """Of each of these tokens, how likely it and those before it are right."""
        ...


def may_pay(rows: int, room: int, costs: StepCosts, spent: float = 0.0) -> bool:
    """Whether guesses of a step of `rows` answers would win time if all of them were right.

    Of many answers they would not, and need not be looked for: their rows cost what they save.
    """
    least = _enough(rows, costs, spent)
    counts = (*(count for count in (1, 2, 4, 8, 16, 32, 64) if count < room), room)
    return any([(rows + count) / (spent + costs.of(rows + count)) > least for count in counts])


def _enough(rows: int, costs: StepCosts, spent: float) -> float:
    """The tokens in the time of a step of one that guesses must promise to give."""
    return (1 if spent else GAIN) * rows / (spent + costs.of(rows))


def worthwhile(
    answers: Sequence[Guessing | None], room: int, costs: StepCosts, spent: float = 0.0
) -> list[int]:
    """How many guesses of each of `answers` give all of them the most tokens in a given time.

    Without guesses a step has one row for each, and at most `room` more are possible. What is sure
    need not pay: it has to be fed in any case. `spent` is the time that drafts have taken.
    """
    rows = len(answers)
    offers = [
        (chance, index)
        for index, answer in enumerate(answers)
        if answer is not None
        for chance in answer.chances(room)
    ]
    # The chances of one answer fall, so that its guesses stay in their order.
    offers.sort(key=lambda offer: -offer[0])
    best, best_rate = 0, _enough(rows, costs, spent)
    tokens = float(rows)
    for count, (chance, _) in enumerate(offers[:room], 1):
        tokens += chance
        rate = tokens / (spent + costs.of(rows + count))
        if chance == 1:
            best, best_rate = count, GAIN * rate
        elif rate > best_rate:
            best, best_rate = count, rate
    counts = [0] * rows
    for _, index in offers[:best]:
        counts[index] += 1
    return counts
