"""The token loop: one native call per chunk of the prompt, then one per token.

It knows ids only: no text, no stop strings, no clock. It is a plain generator, so whoever reads it
decides when the next token is computed, and a reader that has had enough simply stops reading.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cactus.errors import NonFiniteLogits
from cactus.generate.contract import Output, Program, Sampler
from cactus.generate.prefix import Conversation


def sample_tokens(
    program: Program,
    make_row: Callable[..., Any],
    conversation: Conversation[Any],
    prompt: list[int],
    sampler: Sampler,
    stopped: Callable[[], bool],
) -> Iterator[Output]:
    """Read what is new of `prompt`, then yield one sampled token after another, without end.

    `conversation` must have been rewound to a proper prefix of `prompt`. A token is fed back only
    when the one after it is asked for, so the last token that was yielded is never in the cache.
    Ends early, between two native calls, when `stopped` says so. Raises NonFiniteLogits.
    """

    def step(tokens: Sequence[int], last: bool) -> Sequence[Output]:
        row = make_row(
            conversation.session,
            tokens,
            outputs="last" if last else "none",
            sampler=sampler if last else None,
        )
        outputs: Sequence[Output] = program.step([row])
        conversation.fed(tokens)
        return outputs

    position = len(conversation.tokens)
    outputs: Sequence[Output] = ()
    while position < len(prompt):
        if stopped():
            return
        chunk = prompt[position : position + program.chunk]
        position += len(chunk)
        outputs = step(chunk, position == len(prompt))
    while True:
        output = outputs[0]
        if not math.isfinite(output.entropy):
            raise NonFiniteLogits(
                f"the model's logits at position {len(conversation.tokens) - 1} are not finite: "
                "the weights are damaged, or a value overflowed"
            )
        yield output
        if stopped():
            return
        outputs = step([output.token], True)
