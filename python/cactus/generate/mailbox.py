"""What somebody looks at who waits for lanes of the batch."""

from __future__ import annotations

from collections import deque
from typing import Any

from cactus.calls.turns import Bell

AHEAD = 4
"""Tokens that are computed for a stream before its reader asks: who looks at each token does not
miss the next step, and one who went away soon costs nothing more."""


class Mailbox:
    """What one thread waits for: the tokens of a stream, or the ends of lanes.

    `patient`: its thread has nothing to do before a whole answer is there. `failure` is what ended
    the work of those that drive for others.
    """

    __slots__ = ("__weakref__", "bell", "failure", "items", "patient", "waiting")

    ahead = AHEAD

    def __init__(self, *, patient: bool) -> None:
        self.items: deque[Any] = deque()
        self.bell = Bell()
        self.patient = patient
        self.waiting = False
        self.failure: BaseException | None = None

    def wake(self) -> None:
        """Let whoever waits look at it, if somebody does."""
        if self.waiting:
            self.bell.ring()
