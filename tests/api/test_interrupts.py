"""KeyboardInterrupt at any line, also of the code that cleans up: others go on, and nothing hangs.

Python looks for signals where a function begins, after a call and where a loop goes round. The
interrupts of these tests come out of such places, one after another, in a thread of their own.
"""

from __future__ import annotations

import gc
import opcode
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from cactus.errors import Cancelled, ModelClosed
from cactus.generate.chat import Chat
from cactus.graph.step import Row
from cactus.model import Model
from tests.generate.scripted import END, InThread, babbling

Make = Callable[..., Model]

LOOKS = {
    number
    for name, number in opcode.opmap.items()
    if name.startswith(("CALL", "RESUME", "JUMP_BACKWARD", "JUMP_ABSOLUTE"))
}
"""The instructions after which Python looks for signals."""

TRIES = 30
"""Places of each victim, besides its last 20, which clean up."""

WAIT = 15.0
"""Seconds after which a thread is taken to hang."""


class Interrupt:
    """Runs work, and raises KeyboardInterrupt the `at`-th time that Python looks for signals."""

    def __init__(self, at: int) -> None:
        self.count, self.where = 0, ""
        self._at = at
        self._last: dict[int, int | None] = {}

    def run(self, work: Callable[[], object]) -> BaseException | None:
        """What came out of it."""
        before = sys.gettrace()
        sys.settrace(self._call)
        try:
            work()
        except BaseException as error:
            return error
        finally:
            sys.settrace(before)
        return None

    def _call(self, frame: FrameType, event: str, argument: object) -> Any:
        name = frame.f_code.co_filename
        if "/cactus/" not in name and not name.endswith("threading.py"):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._within

    def _within(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "return":
            self._last.pop(id(frame), None)
            caller = frame.f_back
            if caller is not None and id(caller) in self._last:
                self._last[id(caller)] = None  # Python does not look where a function returns
        elif event == "opcode":
            before = self._last.get(id(frame))
            self._last[id(frame)] = frame.f_code.co_code[frame.f_lasti]
            if before in LOOKS:
                self.count += 1
                if self.count == self._at:
                    self.where = f"{frame.f_code.co_name} line {frame.f_lineno}"
                    sys.settrace(None)
                    raise KeyboardInterrupt
        return self._within


def rambling(history: list[int], answered: int) -> int:
    letter = babbling(history, answered)
    return END if letter % 9 == 0 and answered > 3 else letter


def read(model: Model, text: str, **options: Any) -> str:
    with model.stream(text, **options) as stream:
        return "".join(event.text for event in stream)


def nested(model: Model) -> None:
    with model.stream("the victim", max_tokens=3) as stream:
        for _ in stream:
            model.chat("within", max_tokens=2)


NUMBERS = {"type": "array", "items": {"enum": ["one", "two"]}, "maxItems": 3}

VICTIMS: dict[str, Callable[[Model], object]] = {
    "chat": lambda model: model.chat("the victim", max_tokens=6),
    "stream": lambda model: read(model, "the victim", max_tokens=6),
    "many": lambda model: model.chat_many(["one", "two", "the victim"], max_tokens=3),
    "nested": nested,
    "schema": lambda model: model.chat("the victim", max_tokens=30, schema=NUMBERS),
    "reset": Model.reset,
    "close": Model.close,
}


# A file that is interrupted while it is opened is closed by Python, with a warning.
@pytest.mark.fault("F58")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("victim", VICTIMS)
def test_an_interrupt_anywhere_hangs_nobody_and_changes_no_other_answer(
    scripted_model: Make, victim: str, others: bool
) -> None:
    def make() -> Model:
        return scripted_model(rambling, chunk=16, context=2000, slope=0.0)

    texts = ["another chat", "another stream", "afterwards"]
    expected = {text: make().chat(text, max_tokens=20).text for text in texts}

    def interrupted(at: int) -> int:
        model = make()
        model.chat("before", max_tokens=2)
        program: Any = model._engine.program
        beside = []
        if others:
            program.during = lambda _tokens: time.sleep(0.0002)
            beside = [
                InThread(lambda: model.chat(texts[0], max_tokens=20).text),
                InThread(lambda: read(model, texts[1], max_tokens=20)),
            ]
        interrupt = Interrupt(at)
        error = InThread(lambda: interrupt.run(lambda: VICTIMS[victim](model))).result(WAIT)
        assert isinstance(error, KeyboardInterrupt) or not interrupt.where, (interrupt.where, error)
        for text, other in zip(texts, beside, strict=False):
            try:
                assert other.result(WAIT) == expected[text], interrupt.where
            except (Cancelled, ModelClosed):
                assert victim == "close"
        if not model.closed:
            after = InThread(lambda: model.chat("afterwards", max_tokens=20).text)
            assert after.result(WAIT) == expected["afterwards"], interrupt.where
            chat: Any = model._workers[Chat]
            assert chat._batch._lanes == [], interrupt.where
        InThread(model.close).result(WAIT)
        assert program.closed, interrupt.where
        return interrupt.count

    places = interrupted(0)
    assert places > 5
    anywhere = range(1, places + 1)
    for at in {*random.Random(victim).sample(anywhere, min(TRIES, places)), *anywhere[-20:]}:
        interrupted(at)


@pytest.mark.fault("F62")
@pytest.mark.timeout(120)
def test_an_interrupt_anywhere_loses_no_native_memory(tiny_model: Path) -> None:
    with Model(tiny_model, cache_bytes=0) as model:
        program = model._engine.tokens

        def work() -> None:
            past = program.session()
            program.step([Row(past, [1, 2, 3], outputs="none")])
            copy = past.fork()
            past.close()
            copy.close()

        work()  # what is done once is done
        counted = Interrupt(0)
        assert counted.run(work) is None and counted.count > 5
        for at in range(1, counted.count + 1):
            interrupt = Interrupt(at)
            assert isinstance(interrupt.run(work), KeyboardInterrupt)
            gc.collect()
            assert program.kv_bytes == 0, interrupt.where
