"""What `Model` stands on: a loaded model, its turns, and who does the work of its abilities."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TypeVar

from cactus.calls.closing import Closing
from cactus.calls.turns import Turns
from cactus.compat import Self
from cactus.engine.loaded import Loaded
from cactus.machine import release_memory
from cactus.models.abilities import Ability


class Worker:
    """Does the work of some abilities of a loaded model, for as long as that is in use.

    What it pushes on `owned` is freed when the model is closed, before the model itself.
    """

    def __init__(self, engine: Loaded, turns: Turns, owned: ExitStack) -> None:
        self._engine, self._turns = engine, turns

    def forget(self) -> None:
        """Forget what earlier calls have left. It is the caller's turn."""


W = TypeVar("W", bound=Worker)


class ModelBase(Closing):
    """The methods of an ability, in whatever room, find here who does its work."""

    @classmethod
    def around(cls, engine: Loaded) -> Self:
        """These methods of a model that is already loaded; it is closed with them."""
        made = cls.__new__(cls)
        made._start(engine)
        return made

    def close(self) -> None:
        """End the calls in flight with Cancelled and free the memory. It may be called twice."""
        self._turns.close()

    def _start(self, engine: Loaded) -> None:
        self._engine = engine
        self._owned = ExitStack()
        self._owned.callback(release_memory)  # at the end of all, as callbacks run backwards
        self._owned.callback(engine.close)
        # Bound to what is owned and not to the model: no cycle keeps a dropped model alive.
        self._turns = Turns(self._owned.close)
        self._workers: dict[type[Worker], Worker] = {}
        self._lock = threading.RLock()

    def _work(self, ability: Ability, kind: type[W]) -> W:
        """Who does the work of an ability: one for each kind, made when it is first asked for.

        Raises ForkError, ModelClosed, and UnsupportedModel for a model that lacks the ability.
        """
        self._turns.check()
        self._engine.require(ability)
        if kind not in self._workers:
            with self._lock:  # a signal handler may be here once more, within
                if kind not in self._workers:
                    made = kind(self._engine, self._turns, self._owned)
                    self._workers.setdefault(kind, made)
        found = self._workers[kind]
        assert isinstance(found, kind)
        return found
