"""Documents that answers are made from: what this room needs of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cactus.types import Completion

if TYPE_CHECKING:
    from cactus.chat.messages import Message


@dataclass(frozen=True, slots=True)
class Room:
    """What a prompt may have: `limit` tokens, so that an answer fits behind it.

    `count` gives the tokens of messages as a prompt, `count_text` those of a text alone.
    """

    limit: int
    count: Callable[[Sequence[Message]], int]
    count_text: Callable[[str], int]


class Consulted(Protocol):
    """What documents have to say to one request."""

    @property
    def messages(self) -> Sequence[Message]:
        """The messages with what was found in the documents."""

    @property
    def answer(self) -> str | None:
        """The answer, where that is known without asking the model."""

    def cited(self, completion: Completion) -> Completion:
        """The answer with its citations, and with what it was made from."""


class Documents(Protocol):
    """Some documents that can be asked."""

    def consult(self, messages: Sequence[Message], room: Room) -> Consulted:
        """What they say to the last question of `messages`. Raises CactusError."""
