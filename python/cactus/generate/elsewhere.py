"""Who else may be asked where the model is less sure than wanted: what this room needs of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from cactus.errors import CloudError
from cactus.types import FinishReason

if TYPE_CHECKING:
    from cactus.chat.messages import Message
    from cactus.generate.options import Options

THRESHOLD = 0.7
"""The confidence below which somebody else is asked, where no other number is given."""


@dataclass(frozen=True, slots=True)
class Reply:
    """How a question ended: with an answer, or with the `error` why there is none.

    Of `host` and its `model`; `tokens_read` and `tokens_written` are what it says it did.
    """

    host: str = ""
    model: str = ""
    error: CloudError | None = None
    finish_reason: FinishReason = "stop"
    function_calls: tuple[dict[str, Any], ...] = ()
    call_ids: tuple[str, ...] = ()
    tokens_read: int | None = None
    tokens_written: int | None = None


class Asked(Protocol):
    """A question on its way, in a thread of its own. None of its methods waits or raises."""

    @property
    def reply(self) -> Reply | None:
        """How it ended; None before. Read it before `take`: then that has all."""

    def start(self) -> None:
        """Ask. `wake` is called, in another thread, whenever there is something to look at."""

    def take(self) -> str:
        """The text that has come since the last call; of one that is not streamed, all at once."""

    def close(self) -> None:
        """End it now."""


class Elsewhere(Protocol):
    """Somebody who can be asked."""

    def ready(self) -> bool:
        """Whether it is there and allowed, as far as this machine knows. Opens no connection."""

    def ask(
        self,
        messages: Sequence[Message],
        options: Options,
        *,
        streamed: bool,
        wake: Callable[[], None],
    ) -> Asked:
        """The question, not yet asked. Opens no connection."""


@dataclass(frozen=True, slots=True)
class Question:
    """What would be asked, and whom."""

    elsewhere: Elsewhere = field(repr=False)
    messages: Sequence[Message]
    options: Options

    def ask(self, *, streamed: bool, wake: Callable[[], None]) -> Asked:
        """The question, not yet asked."""
        return self.elsewhere.ask(self.messages, self.options, streamed=streamed, wake=wake)
