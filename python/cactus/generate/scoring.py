"""How probable each token of a text is, behind those before it."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from cactus.calls.turns import Call
from cactus.engine.contract import Sampling
from cactus.errors import InsufficientMemory, NonFiniteLogits
from cactus.generate.answer import token_logprob
from cactus.generate.conversations import Conversations
from cactus.types import TokenLogprob

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cactus.engine.loaded import Loaded

ROWS = 64
"""Tokens of a step at most: the whole vocabulary is looked at for each of them, and others go on
between two steps."""


def score(
    engine: Loaded, conversations: Conversations, ids: Sequence[int], top: int, call: Call
) -> Generator[None, None, list[TokenLogprob]]:
    """An entry for each of `ids`, with the `top` likeliest tokens at its place.

    The first has nothing before it: its logprob is nan. What was read is remembered, so that what
    follows the text need not read it again. Raises Cancelled, NonFiniteLogits, InsufficientMemory.
    """
    tokenizer, rows = engine.tokenizer, min(ROWS, engine.program.chunk)
    found = [token_logprob(tokenizer, ids[0], math.nan)]
    conversation = conversations.new(call.tenant.memory)
    sampler = engine.sampler(Sampling(), ())
    try:
        for first in range(0, len(ids) - 1, rows):
            following = ids[first + 1 : first + 1 + rows]
            fed = ids[first : first + len(following)]
            # The only token that may be chosen at each place is the one that stands there.
            sampler.allow(_only(following, engine.program.vocab_size))
            outputs = _step(engine, conversations, conversation.session, fed, sampler, top, call)
            conversation.fed(first, fed)
            for n, output in enumerate(outputs):
                if not math.isfinite(output.entropy):
                    raise NonFiniteLogits(
                        f"the model's logits at position {first + n} are not finite: the weights "
                        "are damaged, or a value overflowed"
                    )
                others = [token_logprob(tokenizer, *each) for each in output.top[:top]]
                found.append(token_logprob(tokenizer, output.token, output.logprob, tuple(others)))
            yield
    except BaseException:
        conversations.drop(conversation)
        raise
    else:
        conversations.keep(conversation)
    finally:
        sampler.close()
    return found


def _step(
    engine: Loaded,
    conversations: Conversations,
    session: Any,
    ids: Sequence[int],
    sampler: Any,
    top: int,
    call: Call,
) -> Sequence[Any]:
    """A step that says of each of `ids` what follows it; what is remembered makes room for it."""
    while True:
        row = engine.row(
            session, ids, outputs="all", sampler=sampler, top_logprobs=top, stop=call.flag
        )
        try:
            return engine.program.step([row])
        except InsufficientMemory:
            if not conversations.give_up():
                raise


def _only(ids: Sequence[int], vocab_size: int) -> NDArray[np.uint32]:
    """For each of `ids` a mask that leaves no other: uint32 [ids, words]."""
    import numpy as np

    places = np.array(ids, np.int64)
    masks = np.zeros((len(ids), -(-vocab_size // 32)), np.uint32)
    masks[np.arange(len(ids)), places // 32] = np.left_shift(1, places % 32).astype(np.uint32)
    return masks
