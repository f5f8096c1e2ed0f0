"""What goes into one step of a program and what comes out, native or reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..calls.stop_flag import StopFlag

Outputs = Literal["last", "all", "none", "first", "sum"]


@dataclass(slots=True, eq=False)
class Row:
    """New tokens of one session, which continue it; no session twice in one step.

    Or, in a program of features, the rows ``[T, features]`` of the session's new memory, which
    tokens that come later attend to; its old tokens are forgotten.
    Or the tokens, or the features, of a whole text or picture, in a program whose rows see all of
    it; or features of a program whose rows see nothing else: its session is then only a name, which
    may be used again.
    A program of tokens may take ``features``, too: token -1 - k is then row k of them.
    ``positions`` are int32 ``[T, axes]``, in a program whose rotations have axes; without them
    every axis has the session's position.
    ``outputs`` says which tokens get an Output: the last, all, none of them (prefill) or the first;
    "sum": one Output has the sum of the states of all, in a program without a vocabulary.
    Without a ``sampler`` the choice is greedy: the most likely token, the lower id on ties.
    ``top_logprobs`` is how many of the likeliest tokens each of its Outputs names.
    ``stop`` says that this row is not wanted any more: a step ends early once the flags of all its
    rows are set. While others go on, the row is computed like them, and whoever stopped it drops
    its Outputs.
    """

    session: Any
    tokens: Sequence[int] = ()
    outputs: Outputs = "last"
    sampler: Any = None
    features: NDArray[np.float32] | None = None
    top_logprobs: int = 0
    stop: StopFlag | None = None
    positions: NDArray[np.int32] | None = None

    @property
    def count(self) -> int:
        """How many rows of a step this is."""
        return len(self.tokens) or (0 if self.features is None else len(self.features))

    @property
    def output_count(self) -> int:
        """How many Outputs it gets."""
        outputs = self.outputs
        return self.count if outputs == "all" else int(outputs != "none")


class Output(NamedTuple):
    """The choice made at one token.

    ``logprob`` (of ``token``) and ``entropy``, in nats, belong to the softmax of the raw logits:
    before penalties, temperature and masks; so do those of ``top``, the likeliest tokens with their
    logarithms, as many as the row asked for. ``logits`` are there if the step was asked for them.
    """

    token: int
    logprob: float
    entropy: float
    logits: NDArray[np.float32] | None = None
    top: tuple[tuple[int, float], ...] = ()
