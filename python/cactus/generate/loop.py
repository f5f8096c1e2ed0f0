"""One prompt and its answer on their way through the program, a row of a step at a time.

It knows ids only: no text, no stop strings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from cactus.calls.stop_flag import StopFlag
from cactus.engine.contract import Output, Sampler
from cactus.engine.costs import MOST
from cactus.errors import InvalidRequest, NonFiniteLogits
from cactus.generate.prefix import CachedSession
from cactus.generate.speculation import Speculation

if TYPE_CHECKING:
    from cactus.grammar.guide import Guide
    from cactus.vision.gaze import Gaze


GUESSING_RUN = 4
"""Steps in a row at most where guesses may be found between two of them."""


class Taken(NamedTuple):
    """A token of the answer. `forced`: a grammar left no choice. `ends`: why that says it ends."""

    output: Output
    forced: bool = False
    ends: Literal["stop", "length"] | None = None


class Progress:
    """What is known of a text, and how much of it is in the cache.

    Its `conversation` must have been rewound to a proper prefix of what is known. After every step,
    what is known and not in the cache yet is what comes next: the rest of the prompt, then the
    token that was chosen last. So the last token of an answer is never fed. Another conversation
    may take the place of the one that there is, at any time: it reads what it does not have.
    """

    def __init__(
        self,
        make_row: Callable[..., Any],
        prompt: Sequence[int],
        sampler: Sampler,
        speculation: Speculation | None = None,
        top_logprobs: int = 0,
        stop: StopFlag | None = None,
        guide: Guide | None = None,
        gaze: Gaze | None = None,
    ) -> None:
        self._make_row = make_row
        self._sampler = sampler
        self._top_logprobs = top_logprobs
        self.ids = list(prompt)
        """All that is known: the prompt, and the tokens of the answer."""
        self._stop = stop
        self.conversation: CachedSession[Any] | None = None
        self._guide, self._gaze = guide, gaze
        self.speculation = speculation
        """Where guesses come from; without one there are none."""
        self._begin = len(prompt)
        self._fed: list[int] = []
        self._forced: Sequence[bool] = ()  # of the outputs of the row that was made last
        # As they were before the step: what a step gave may be taken twice.
        self._cached = self._known = 0
        self.guesses = 0
        """How many of the tokens of the row that was made last are guesses."""

    @property
    def cached(self) -> int:
        """Tokens that are in the cache."""
        return 0 if self.conversation is None else len(self.conversation.tokens)

    @property
    def behind(self) -> int:
        """Known tokens that are not in the cache: what is left of the prompt, or 1."""
        return len(self.ids) - self.cached

    @property
    def sees(self) -> bool:
        """Whether there are images in the prompt."""
        return self._gaze is not None

    def run(self, longest: int, eager: bool) -> int:
        """How many steps in a row, at most, it can be given no tokens but those that it chose.

        `eager`: one at a time where a guess is likely to be right, though it may not pay yet.
        """
        if self._guide is not None or self._gaze is not None:
            return 1
        if self.speculation is None:
            return longest
        return 1 if eager and self.speculation.likely else min(longest, GUESSING_RUN)

    def forget(self, length: int) -> None:
        """Forget what was read from `length` on."""
        if self.conversation is not None and len(self.conversation.tokens) > length:
            self.conversation.cut(length)

    @property
    def guided(self) -> bool:
        """Whether a grammar says what follows."""
        return self._guide is not None

    @property
    def foresees(self) -> bool:
        """Whether tokens of the answer can be known before they are chosen."""
        return self._guide is not None or (self.speculation is not None and self.speculation.ready)

    @property
    def readable(self) -> int:
        """Up to which position it can be read: what is behind that is yet to be looked at."""
        end = None if self._gaze is None else self._gaze.end(self.cached)
        return len(self.ids) if end is None else end

    def blind(self, little: int) -> bool:
        """Whether it can read fewer than `little` before it has looked at the next of an image."""
        return self._gaze is not None and self._gaze.blind(self.cached, little)

    @property
    def whole(self) -> int:
        """How many of its rows the next step must read at once, and no others; 0: any number."""
        return 0 if self._gaze is None else self._gaze.whole(self.cached)

    @property
    def answer(self) -> list[int]:
        """The tokens of the answer."""
        return self.ids[self._begin :]

    def chances(self, room: int) -> list[float]:
        """Of each token that can be fed behind the last one, how likely it and those before it are
        right; 1 for what a grammar forces."""
        try:
            following, sure = self._following(room)
        except InvalidRequest:  # `row` says it, where it ends this answer alone
            return []
        if sure or not following or self.speculation is None:
            return [1.0] * len(following)
        return self.speculation.chances(room)[: len(following)]

    def _following(self, room: int) -> tuple[Sequence[int], bool]:
        """At most `room` tokens to feed behind the last one, and whether they must come."""
        guide = self._guide
        if guide is not None and (forced := guide.forced(self.answer)):
            return forced[: min(room, max(0, guide.limit - len(self.answer) - 1))], True
        if self.speculation is None:
            return [], False
        guesses = self.speculation.guess(min(room, MOST))
        if guide is not None and guesses:
            guesses = guesses[: guide.possible(self.answer, guesses)]
        return guesses, False

    def row(self, most: int, guesses: int = 0) -> Any:
        """The row of the next step: at most `most` known tokens, and `guesses` behind the last."""
        assert self.conversation is not None
        self._cached, self._known = len(self.conversation.tokens), len(self.ids)
        end = self._cached + most
        if self._gaze is not None:
            end = min(end, self.readable)
        self._fed = self.ids[self._cached : end]
        last = self._cached + len(self._fed) == self._known
        guessed = self._following(guesses)[0] if guesses and last else []
        self._fed += guessed
        self.guesses = len(guessed)
        if last and self._guide is not None:
            masks, self._forced = self._guide.masks(self.answer, guessed)
            self._sampler.allow(masks)
        tokens: Sequence[int] = self._fed
        seen: dict[str, Any] = {}
        if self._gaze is not None:
            tokens, seen = self._gaze.row(self._fed, self._cached)
        return self._make_row(
            self.conversation.session,
            tokens,
            outputs="all" if guessed else "last" if last else "none",
            sampler=self._sampler if last else None,
            top_logprobs=self._top_logprobs,
            stop=self._stop,
            **seen,
        )

    def look(self) -> None:
        """Look at the next part of an image that is to be read. Raises Cancelled, and others.

        It may be done again where it was interrupted.
        """
        if self._gaze is not None:
            self._gaze.look(self.cached, self._stop)

    def take(self, outputs: Sequence[Output]) -> Sequence[Taken]:
        """The step of `row` gave `outputs`: the next tokens of the answer, in order.

        Empty while the prompt is being read. Raises NonFiniteLogits. It may be done again where it
        was interrupted.
        """
        conversation, guesses = self.conversation, self.guesses
        assert conversation is not None
        conversation.fed(self._cached, self._fed)
        if not outputs:
            return []
        if not math.isfinite(outputs[0].entropy):
            raise NonFiniteLogits(
                f"the model's logits at position {len(conversation.tokens) - guesses - 1} are not "
                "finite: the weights are damaged, or a value overflowed"
            )
        if len(outputs) > 1 and not guesses:  # several steps in a row
            run = [output.token for output in outputs[:-1]]
            conversation.fed(self._cached, [*self._fed, *run])
            # Where a step after the first has failed, some of it may be lost.
            conversation.cut(len(conversation.tokens))
        right = 0 if guesses else len(outputs) - 1
        while (
            right < guesses
            and outputs[right].token == self._fed[1 + right]
            and math.isfinite(outputs[right + 1].entropy)  # else the next step meets it alone
        ):
            right += 1
        if right < guesses:
            conversation.cut(len(conversation.tokens) - guesses + right)
        tokens = [output.token for output in outputs[: right + 1]]
        self.ids[self._known :] = tokens
        if self.speculation is not None:
            if right < guesses:  # what was drawn behind them counts as not drawn
                self._sampler.rewind(len(self.ids) - self._begin)
            self.speculation.learn(tokens)
        if self._guide is None:
            return [Taken(output) for output in outputs[: right + 1]]
        taken = [Taken(*each) for each in zip(outputs[: right + 1], self._forced, strict=False)]
        taken[-1] = taken[-1]._replace(ends=self._guide.ended(self.answer))
        return taken

    def failed(self) -> None:
        """The step of `row` raised: only what the session still holds was fed."""
        if self.conversation is not None:
            self.conversation.cut(len(self.conversation.tokens))
