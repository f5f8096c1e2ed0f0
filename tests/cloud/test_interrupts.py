"""KeyboardInterrupt at any line while somebody else is asked: nothing hangs, nothing is left."""

from __future__ import annotations

import _thread
import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from cactus import Model
from cactus.generate.elsewhere import Reply
from tests.api.test_interrupts import Interrupt
from tests.cloud.conftest import UNSURE
from tests.cloud.test_exchange import gone
from tests.generate.scripted import InThread, saying, scripted_engine

TRIES = 15


class Question:
    """Answers in another thread, some time later."""

    opened = 0

    def __init__(self, wake: Callable[[], None]) -> None:
        self.reply: Reply | None = None
        self._pieces: deque[str] = deque()
        self._wake = wake
        self._over = False

    def start(self) -> None:
        Question.opened += 1
        # Not a Thread, in whose own code an interrupt may leave a lock behind.
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        for piece in ("from ", "elsewhere"):
            time.sleep(0.001)
            if not self._over:
                self._pieces.append(piece)
                self._wake()
        self.reply = Reply()
        self._wake()
        Question.opened -= 1

    def take(self) -> str:
        return "".join(self._pieces.popleft() for _ in range(len(self._pieces)))

    def close(self) -> None:
        self._over = True


class Oracle:
    def ready(self) -> bool:
        return True

    def ask(self, *_: object, streamed: bool, wake: Callable[[], None]) -> Question:
        return Question(wake)


def read(model: Model) -> None:
    with model.stream("Hi") as stream:
        for _ in stream:
            pass


VICTIMS: dict[str, Callable[[Model], object]] = {
    "chat": lambda model: model.chat("Hi"),
    "stream": read,
    "many": lambda model: model.chat_many(["Hi"] * 3),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("victim", VICTIMS)
def test_an_interrupt_anywhere_leaves_nothing(victim: str) -> None:
    def interrupted(at: int) -> int:
        script = saying("said here", entropies=[UNSURE])
        with Model.from_engine(scripted_engine(script, chunk=16)) as model:
            model.elsewhere = Oracle()
            interrupt = Interrupt(at)
            error = InThread(lambda: interrupt.run(lambda: VICTIMS[victim](model))).result(15)
            assert isinstance(error, KeyboardInterrupt) or not interrupt.where, interrupt.where
            after = InThread(lambda: model.chat("Hi")).result(15)
            assert after.text == "from elsewhere", interrupt.where
            chat: Any = next(iter(model._workers.values()))
            del error  # its frames hold what was interrupted
            InThread(lambda: model.chat("Hi", allow_cloud=False)).result(15)
            assert chat._batch._lanes == [], interrupt.where
        return interrupt.count

    places = interrupted(0)
    assert places > 5
    for at in {*random.Random(victim).sample(range(1, places + 1), min(TRIES, places)),
               *range(max(1, places - 10), places + 1)}:  # fmt: skip
        interrupted(at)
    assert gone(lambda: Question.opened == 0)
