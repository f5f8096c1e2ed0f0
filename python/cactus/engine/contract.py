"""What generation needs of the engine below it and of the text tools beside it.

The native program and the NumPy reference both fit these protocols, and so does the scripted
program of the tests: this room never asks which of them it drives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from cactus.calls.stop_flag import StopFlag

Outputs = Literal["last", "all", "none"]


class Session(Protocol):
    """The state of one conversation: the positions that are truly in the caches."""

    @property
    def length(self) -> int: ...

    def truncate(self, length: int, /) -> int:
        """Forget everything from `length` on; returns the length reached, which may be lower."""
        ...

    def fork(self) -> Any:
        """A session with the same past; the two go on independently."""
        ...

    def close(self) -> None: ...


class Sampler(Protocol):
    """Chooses a token from logits; owns its random state and its history of tokens."""

    def allow(self, masks: Any, /) -> None:
        """Which tokens each output of the next step's row may be: uint32 [outputs, words]."""
        ...

    def rewind(self, tokens: int, /) -> None:
        """Draw the next token as the one behind so many; not for samplers with penalties."""
        ...

    def close(self) -> None: ...


class Output(Protocol):
    """What a step says of one output row; `entropy` in nats over the raw distribution.

    `top` are the likeliest tokens with their log-probabilities, as many as the row asked for.
    """

    @property
    def token(self) -> int: ...
    @property
    def logprob(self) -> float: ...
    @property
    def entropy(self) -> float: ...
    @property
    def top(self) -> Sequence[tuple[int, float]]: ...


class PendingStep(Protocol):
    """A step that is ready to run, once."""

    @property
    def done(self) -> bool:
        """Whether it has run and succeeded, whatever exception came out of `run`."""
        ...

    def run(self) -> None:
        """Run it; Cancelled, with the sessions as they were, once all of its rows are stopped."""
        ...

    @property
    def made(self) -> int:
        """How many steps in a row it has made."""
        ...

    def outputs(self) -> Sequence[Any]:
        """What it gave for each output of its rows, in order; `made` for each row of several."""
        ...


class Program(Protocol):
    """A loaded model: `chunk` is the largest number of rows one step takes.

    `longest_run` is how many steps in a row may be prepared at once.
    """

    @property
    def vocab_size(self) -> int: ...
    @property
    def chunk(self) -> int: ...
    @property
    def longest_run(self) -> int: ...
    @property
    def kv_bytes(self) -> int:
        """Memory that the keys and values of all sessions take now."""
        ...

    def session(self) -> Any: ...
    def prepare(
        self, rows: Any, /, *, stop: StopFlag | None = None, steps: int = 1, ends: Any = None
    ) -> PendingStep: ...
    def step(self, rows: Any, /) -> Sequence[Any]:
        """`prepare`, run and outputs in one."""
        ...

    def close(self) -> None: ...


class Decoder(Protocol):
    """Turns a stream of ids into text, never half a character."""

    def push(self, token: int, /) -> str: ...
    def flush(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. The defaults are greedy: always the most likely token.

    `repetition_penalty` sees the last `repetition_window` tokens of prompt and answer, None: all.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_window: int | None = None
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None

    @property
    def forgetful(self) -> bool:
        """True if a choice depends on nothing that was chosen before, but on how many were."""
        return (
            self.repetition_penalty == 1
            and self.presence_penalty == 0
            and self.frequency_penalty == 0
        )


class InMemory:
    """A model that is loaded: `Loaded` is one. Options name it without knowing what it has."""
