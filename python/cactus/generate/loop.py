"""The token loop: what to feed to the program next, and which of its outputs count.

It knows ids only: no text, no stop strings. It is a plain generator, so whoever reads it decides
when the next token is computed, and a reader that has had enough simply stops reading.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cactus.calls.stop_flag import StopFlag
from cactus.engine.contract import Output, Program, Sampler
from cactus.errors import Cancelled, InsufficientMemory, NonFiniteLogits
from cactus.generate.prefix import CachedSession
from cactus.generate.speculation import Speculation


class Progress:
    """One prompt and its answer on their way through the program, a row of a step at a time.

    `conversation` must have been rewound to a proper prefix of `prompt`. After every step, what is
    known of the text and not in the cache yet is what comes next: the rest of the prompt, then the
    token that was chosen last. So the last token of an answer is never fed.
    """

    def __init__(
        self,
        make_row: Callable[..., Any],
        conversation: CachedSession[Any],
        prompt: Sequence[int],
        sampler: Sampler,
        speculation: Speculation | None = None,
        top_logprobs: int = 0,
    ) -> None:
        self._make_row = make_row
        self._conversation = conversation
        self._ids = list(prompt)
        self._sampler = sampler
        self._speculation = speculation
        self._top_logprobs = top_logprobs
        self._fed: list[int] = []
        self._began = 0.0
        self.guesses = 0
        """How many of the tokens of the row that was made last are guesses."""

    @property
    def behind(self) -> int:
        """Known tokens that are not in the cache: what is left of the prompt, or 1."""
        return len(self._ids) - len(self._conversation.tokens)

    def row(self, most: int, *, guessing: bool = True) -> Any:
        """The row of the next step, of at most `most` tokens. The step is to follow at once."""
        cached = len(self._conversation.tokens)
        self._fed = self._ids[cached : cached + most]
        last = cached + len(self._fed) == len(self._ids)
        guesses: list[int] = []
        if last and guessing and self._speculation is not None and len(self._fed) == 1:
            guesses = self._speculation.guess(most - 1)
            self._fed += guesses
        self.guesses = len(guesses)
        self._began = time.perf_counter()
        return self._make_row(
            self._conversation.session,
            self._fed,
            outputs="all" if guesses else "last" if last else "none",
            sampler=self._sampler if last else None,
            top_logprobs=self._top_logprobs,
        )

    def take(self, outputs: Sequence[Output]) -> Sequence[Output]:
        """The step of `row` gave `outputs`: those that are the next tokens of the answer, in order.

        Empty while the prompt is being read. Raises NonFiniteLogits.
        """
        seconds = time.perf_counter() - self._began
        conversation, guesses = self._conversation, self.guesses
        conversation.fed(self._fed)
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
        self._ids += tokens
        if self._speculation is not None:
            self._speculation.learn(tokens)
            if len(self._fed) == 1 + guesses:
                self._speculation.costs.record(1 + guesses, seconds)
        return taken

    def failed(self) -> None:
        """The step of `row` raised: only what the session still holds was fed."""
        self._conversation.cut(len(self._conversation.tokens))


def sample_tokens(program: Program, progress: Progress, stop: StopFlag) -> Iterator[Output]:
    """Read what is new of the prompt, then yield one chosen token after another, without end.

    Ends early, in the middle of a step too, when `stop` is set. Raises NonFiniteLogits.
    """
    while not stop:
        try:
            outputs = program.step([progress.row(program.chunk)], stop=stop)
        except Cancelled:
            progress.failed()
            return
        except (NonFiniteLogits, InsufficientMemory):
            if progress.guesses == 0:
                raise
            # It may have been a wrong guess that was too much.
            progress.failed()
            outputs = program.step([progress.row(program.chunk, guessing=False)])
        for output in progress.take(outputs):
            yield output
            if stop:
                return
