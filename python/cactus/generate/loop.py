"""One prompt and its answer on their way through the program, a row of a step at a time.

It knows ids only: no text, no stop strings.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from cactus.calls.stop_flag import StopFlag
from cactus.engine.contract import Output, Sampler
from cactus.errors import NonFiniteLogits
from cactus.generate.prefix import CachedSession
from cactus.generate.speculation import Speculation


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
    ) -> None:
        self._make_row = make_row
        self._sampler = sampler
        self._top_logprobs = top_logprobs
        self.ids = list(prompt)
        """All that is known: the prompt, and the tokens of the answer."""
        self._stop = stop
        self.conversation: CachedSession[Any] | None = None
        self.speculation = speculation
        self._fed: list[int] = []
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

    def row(self, most: int, guesses: int = 0) -> Any:
        """The row of the next step: at most `most` known tokens, and `guesses` behind the last."""
        assert self.conversation is not None
        self._cached, self._known = self.cached, len(self.ids)
        self._fed = self.ids[self._cached : self._cached + most]
        last = self._cached + len(self._fed) == self._known
        guessed = self.speculation.guess(guesses) if guesses and self.speculation else []
        self._fed += guessed
        self.guesses = len(guessed)
        return self._make_row(
            self.conversation.session,
            self._fed,
            outputs="all" if guessed else "last" if last else "none",
            sampler=self._sampler if last else None,
            top_logprobs=self._top_logprobs,
            stop=self._stop,
        )

    def take(self, outputs: Sequence[Output]) -> Sequence[Output]:
        """The step of `row` gave `outputs`: those that are the next tokens of the answer, in order.

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
        right = 0
        while (
            right < guesses
            and outputs[right].token == self._fed[1 + right]
            and math.isfinite(outputs[right + 1].entropy)  # else the next step meets it alone
        ):
            right += 1
        if right < guesses:
            conversation.cut(len(conversation.tokens) - guesses + right)
        taken = outputs[: right + 1]
        tokens = [output.token for output in taken]
        self.ids[self._known :] = tokens
        if self.speculation is not None:
            self.speculation.learn(tokens)
        return taken

    def failed(self) -> None:
        """The step of `row` raised: only what the session still holds was fed."""
        if self.conversation is not None:
            self.conversation.cut(len(self.conversation.tokens))
