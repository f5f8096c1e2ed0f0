"""What a draft says of one answer, and how far it is believed.

A draft is a smaller model of the same vocabulary. It writes on, token by token, where the answer
ends now; what it wrote are guesses like those that were looked up. How likely a guess is right is
learned: by how sure the draft was of it, in this answer and in those before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cactus.calls.stop_flag import StopFlag
from cactus.engine.contract import Sampler
from cactus.engine.costs import MOST
from cactus.generate.conversations import Cached

if TYPE_CHECKING:
    from cactus.engine.contract import Sampling

EDGES = (0.3, 0.5, 0.7, 0.85, 0.95, 0.99)
"""Between these a draft is equally sure, as far as anybody looks."""


class Trust:
    """How often a drafted token is right, by how sure the draft was of it; and on the whole.

    Old observations count less: `KEPT` of them with each new one. `START` and `BELIEF`: what is
    believed before, and with how many observations.
    """

    START = (0.2, 0.4, 0.55, 0.7, 0.82, 0.92, 0.97)
    MEAN = 0.75
    BELIEF = 8.0
    KEPT = 0.99

    def __init__(self, before: Trust | None = None) -> None:
        start = self.START if before is None else [before.at(n) for n in range(len(self.START))]
        self._right = [chance * self.BELIEF for chance in start]
        self._tried = [self.BELIEF for _ in start]
        # An answer may be easier than others were: half is believed of each.
        self._mean = self.MEAN if before is None else (self.MEAN + before.mean) / 2

    def at(self, level: int) -> float:
        """The share of right ones among those of a level of sureness."""
        return self._right[level] / self._tried[level]

    def chance(self, sure: float) -> float:
        """How likely a token is right that the draft gave the probability `sure`."""
        return self.at(bisect_right(EDGES, sure))

    @property
    def mean(self) -> float:
        """How likely the next token is right, before it has been drafted."""
        return self._mean

    def learn(self, sure: float, right: bool) -> None:
        """A token that the draft gave the probability `sure` was right, or it was not."""
        level = bisect_right(EDGES, sure)
        self._right[level] = self._right[level] * self.KEPT + right
        self._tried[level] = self._tried[level] * self.KEPT + 1
        self._mean += (right - self._mean) * 0.1


class Drafting:
    """The draft's part in one answer: its session, and the guesses that have not been decided.

    `ids` is all that is known of the text, as it grows: at first the prompt. At most `limit` tokens
    are answered.
    `sampling` is how the answer is chosen: where a draft chooses in the same way, with the same
    random numbers, it more often chooses the same. `trust` is shared by all answers.
    """

    ALLOWED = 0.02
    """The share of an answer's time that may go into finding out whether guesses pay."""
    MOST_CREDIT = 4.0

    def __init__(
        self,
        ids: list[int],
        limit: int,
        sampling: Sampling,
        flag: StopFlag,
        trust: Trust,
        memory: str | None = None,
    ) -> None:
        self.ids, self.sampling, self.flag, self.memory = ids, sampling, flag, memory
        self._begin, self._limit = len(ids), limit
        self.conversation: Cached | None = None
        self.sampler: Sampler | None = None
        self.off = False
        """Whether nothing more is to be drafted for this answer."""
        self.known: int | None = None
        """Tokens of the prompt that need not be read; None: nobody has looked."""
        self.chain: list[tuple[int, float]] = []
        """Guesses behind what is known, and how sure the draft was of each."""
        self.ended = False
        """Whether the draft ends the answer behind its chain."""
        self.credit = 1.0
        """Steps of the model that may be lost before it is known whether drafts pay."""
        self.drafted = self.right = 0
        """How many tokens were drafted, and how many of them were right."""
        self.trust, self._all = Trust(trust), trust

    @property
    def answered(self) -> int:
        """Tokens of the answer so far."""
        return len(self.ids) - self._begin

    @property
    def left(self) -> int:
        """Tokens that the answer may still have."""
        return self._limit - self.answered

    @property
    def most(self) -> int:
        """Tokens that the chain may have: the one behind them is known, too."""
        return min(MOST, self.left - 1)

    @property
    def behind(self) -> int:
        """Known tokens that the draft has not read."""
        if self.conversation is not None:
            return len(self.ids) - len(self.conversation.tokens)
        return len(self.ids) - (self.known or 0)

    def chances(self) -> list[float]:
        """Of each token of the chain, how likely it and those before it are right."""
        found, chance = [], 1.0
        for _, sure in self.chain:
            chance *= self.trust.chance(sure)
            found.append(chance)
        return found

    def add(self, token: int, sure: float) -> None:
        """The draft goes on with `token`, to which it gave the probability `sure`."""
        self.chain.append((token, sure))
        self.drafted += 1

    def learn(self, tokens: Sequence[int]) -> None:
        """The answer goes on with `tokens`, which are not in `ids` before this step ends."""
        self.credit = min(self.credit + len(tokens) * self.ALLOWED, self.MOST_CREDIT)
        for n, ((guess, sure), token) in enumerate(zip(self.chain, tokens, strict=False)):
            right = guess == token
            self.trust.learn(sure, right)
            self._all.learn(sure, right)
            self.right += right
            self.credit = min(self.credit + right, self.MOST_CREDIT)
            if not right:
                self.chain, self.ended = [], False
                return
            if n + 1 == len(self.chain):
                break
        left = len(self.chain) >= len(tokens)
        self.chain = self.chain[len(tokens) :] if left else []
        self.ended = self.ended and left

    def align(self) -> None:
        """Let the session forget what turned out to be another text."""
        if self.conversation is not None:
            self.conversation.rewind([*self.ids, *(token for token, _ in self.chain)])

    def unread(self) -> list[int]:
        """What the draft is to be fed before it can write on."""
        assert self.conversation is not None
        read = len(self.conversation.tokens)
        if read >= len(self.ids):
            return [token for token, _ in self.chain[read - len(self.ids) :]]
        return [*self.ids[read:], *(token for token, _ in self.chain)]
