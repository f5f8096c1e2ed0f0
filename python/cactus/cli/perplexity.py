"""The runs behind ``cactus eval``: what a model makes of a text, and how far it is from another."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cactus.errors import InvalidRequest
from cactus.native import Program, Row, Session

if TYPE_CHECKING:
    from cactus.engine.loaded import Loaded

LOGITS = 1 << 23
"""Logits of one step at most, 32 MB: a chunk of a large vocabulary has fewer rows."""


@dataclass
class Quality:
    """What was measured over `tokens` predicted tokens; sums, so that chunks can be added.

    `surprise` is the sum of -ln p(token) and `squares` of its squares. Against another model:
    `base_surprise` is the other's, `divergence` the sum of KL(other || this) in nats over the
    whole vocabulary, `agreed` the tokens for which both hold the same one most likely.
    """

    tokens: int = 0
    surprise: float = 0.0
    squares: float = 0.0
    base_surprise: float = 0.0
    divergence: float = 0.0
    agreed: int = 0

    @property
    def perplexity(self) -> float:
        """exp of the mean surprise."""
        return math.exp(self.surprise / self.tokens)

    @property
    def standard_error(self) -> float:
        """Of the perplexity, as if tokens were independent."""
        mean = self.surprise / self.tokens
        variance = max(0.0, self.squares / self.tokens - mean * mean)
        return self.perplexity * math.sqrt(variance / self.tokens)

    @property
    def base_perplexity(self) -> float:
        """The other model's."""
        return math.exp(self.base_surprise / self.tokens)

    @property
    def mean_divergence(self) -> float:
        """KL(other || this) in nats a token."""
        return self.divergence / self.tokens

    @property
    def agreement(self) -> float:
        """The share of tokens at which both would choose the same."""
        return self.agreed / self.tokens


def evaluate(
    model: Loaded,
    base: Loaded | None,
    ids: Sequence[int],
    *,
    context: int,
    stride: int,
    progress: Callable[[int], None],
) -> Quality:
    """Read `ids` in windows of `context` tokens that begin every `stride` tokens.

    Each token but the first of all is predicted once, in the first window that holds it with a
    token before it; `progress` gets how many have been. With `base` both models read the same
    windows. Raises `InvalidRequest` for fewer than two ids.
    """
    if len(ids) < 2:
        raise InvalidRequest(f"the text has {len(ids)} tokens, expected at least 2")
    programs = [model.tokens] if base is None else [model.tokens, base.tokens]
    quality = Quality()
    for start, known, stop in windows(len(ids), context, stride):
        with ExitStack() as stack:
            sessions = [stack.enter_context(program.session()) for program in programs]
            # The window's last token predicts none; of the rest, the last ones predict new tokens.
            for first, last, wanted in _chunks(start, known - 1, stop - 1, programs):
                logits = [
                    _step(program, session, ids[first:last], wanted)
                    for program, session in zip(programs, sessions, strict=True)
                ]
                if wanted:
                    add(quality, ids[first + 1 : last + 1], *logits)
                    progress(quality.tokens)
    return quality


def windows(count: int, context: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """(start, first token to predict, stop) of windows; tokens 1 to `count` - 1 come once each."""
    predicted = 1
    for start in range(0, count, stride):
        stop = min(start + context, count)
        if predicted < stop:
            yield start, predicted, stop
            predicted = stop


def _chunks(
    start: int, wanted: int, stop: int, programs: Sequence[Program]
) -> Iterator[tuple[int, int, bool]]:
    """(first, last, whether logits are wanted) of the steps that read `start` to `stop`."""
    rows = min(program.chunk for program in programs)
    few = max(1, min(rows, LOGITS // programs[0].vocab_size))
    for begin, end, most, want in ((start, wanted, rows, False), (wanted, stop, few, True)):
        for first in range(begin, end, most):
            yield first, min(first + most, end), want


def _step(
    program: Program, session: Session, ids: Sequence[int], wanted: bool
) -> NDArray[np.float32]:
    row = Row(session, ids, "all" if wanted else "none")
    got = [output.logits for output in program.step([row], want_logits=True)]
    rows = [each for each in got if each is not None]
    return np.stack(rows) if rows else np.empty((0, 0), np.float32)


def add(
    quality: Quality,
    targets: Sequence[int],
    logits: NDArray[np.float32],
    base: NDArray[np.float32] | None = None,
) -> None:
    """Count rows of `logits` [rows, vocabulary] whose next tokens are `targets`."""
    rows = np.arange(len(targets))
    own = log_softmax(logits)
    surprise = -own[rows, targets].astype(np.float64)
    quality.tokens += len(targets)
    quality.surprise += float(surprise.sum())
    quality.squares += float(np.dot(surprise, surprise))
    if base is None:
        return
    other = log_softmax(base)
    quality.base_surprise -= float(other[rows, targets].sum(dtype=np.float64))
    quality.agreed += int(np.count_nonzero(logits.argmax(axis=1) == base.argmax(axis=1)))
    own -= other
    quality.divergence -= float(np.einsum("ij,ij->", np.exp(other), own, dtype=np.float64))


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """ln softmax of each row, in f32 with sums in f64."""
    shifted: NDArray[np.float32] = logits - logits.max(axis=1, keepdims=True)
    total = np.exp(shifted).sum(axis=1, keepdims=True, dtype=np.float64)
    shifted -= np.log(total).astype(np.float32)
    return shifted
