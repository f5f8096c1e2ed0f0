"""Compilations that take long: bounded in number, each grammar once, and none is waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from cactus.errors import InsufficientMemory, Overloaded
from cactus.grammar import compile
from cactus.grammar.underway import MOST, UNDERWAY, Underway, _Work
from cactus.server.errors import api_error
from tests.grammar.vocabulary import by_schema, grammars

pytestmark = [pytest.mark.fault("F38"), pytest.mark.timeout(60)]


class Works:
    """Works that do not end before they are told to."""

    def __init__(self) -> None:
        self.begun: list[object] = []
        self._ended = threading.Event()

    def forever(self) -> str:
        self.begun.append(None)
        while not self._ended.is_set():
            pass
        return "late"

    def end(self) -> None:
        self._ended.set()


@pytest.fixture
def works() -> Iterator[Works]:
    works = Works()
    yield works
    works.end()


def test_work_that_does_not_end_is_not_waited_for(works: Works) -> None:
    underway = Underway()
    assert underway.within(0.05, "a", works.forever) is None
    assert underway.within(5.0, "b", lambda: 7) == 7


def test_what_a_work_raises_reaches_who_asked_and_frees_its_place() -> None:
    def fails() -> None:
        raise LookupError("not there")

    underway = Underway(1)
    for _ in range(3):
        with pytest.raises(LookupError, match="not there"):
            underway.within(5.0, "a", fails)
    assert underway.within(5.0, "a", lambda: 7) == 7


def test_a_thread_that_the_system_does_not_give_is_an_error_and_frees_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    underway = Underway(1)
    with monkeypatch.context() as patched:
        patched.setattr("cactus.grammar.underway._thread.start_new_thread", refuse)
        for _ in range(2):
            with pytest.raises(InsufficientMemory, match="gives no thread"):
                underway.within(1, "a", lambda: 1)
    assert underway.within(60, "a", lambda: 1) == 1


def test_no_more_are_begun_than_there_are_places(works: Works) -> None:
    underway = Underway(2)
    for key in range(2):
        assert underway.within(0.01, key, works.forever) is None
    for key in range(2, 5):
        with pytest.raises(Overloaded, match="2 grammars that take long"):
            underway.within(0.01, key, works.forever, patience=0.01)
    assert len(works.begun) == 2
    works.end()  # a place becomes free while others wait for one
    assert [underway.within(5.0, key, lambda: 7) for key in "abcdefgh"] == [7] * 8


def test_who_asks_for_what_is_under_way_gets_the_same(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, waiting = _Work.result, threading.Semaphore(0)

    def waited_for(work: _Work, seconds: float, patience: float) -> Any:
        waiting.release()
        return result(work, seconds, patience)

    monkeypatch.setattr(_Work, "result", waited_for)
    underway, found = Underway(1), list[Any]()
    threads = [
        threading.Thread(target=lambda: found.append(underway.within(1e6, "a", works.forever)))
        for _ in range(4)
    ]
    for each in threads:
        each.start()
    for _ in threads:
        waiting.acquire()
    works.end()
    for each in threads:
        each.join()
    assert found == ["late"] * 4
    assert len(works.begun) == 1


def test_who_finds_a_work_before_it_has_begun_waits_for_it() -> None:
    ended, found = list[None](), list[Any]()
    work = _Work(lambda: 7, lambda: ended.append(None))
    thread = threading.Thread(target=lambda: found.append(work.result(5.0, 5.0)))
    thread.start()
    thread.join(0.1)
    work.begin()
    thread.join()
    assert (found, ended) == ([7], [None])


def test_who_joins_what_was_given_up_waits_for_no_more(works: Works) -> None:
    underway = Underway(1)
    for _ in range(3):
        assert underway.within(0.02, "a", works.forever) is None
    assert len(works.begun) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_all_places(works: Works) -> None:
    for key in range(MOST):
        assert UNDERWAY.within(0.01, ("fork", key), works.forever) is None
    child = os.fork()
    if child == 0:
        os._exit(UNDERWAY.within(5.0, ("fork", 0), lambda: 7) or 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


EXIT = """
import sys, time
from cactus.grammar.underway import UNDERWAY

def works():
    time.sleep(0.3)
    print("it has ended", flush=True)

assert UNDERWAY.within(0.01, "a", works, patience=0.01) is None
"""


def test_the_interpreter_does_not_end_before_what_is_under_way() -> None:
    done = subprocess.run([sys.executable, "-c", EXIT], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("it has ended\n", "")


def test_a_grammar_that_finds_no_place_is_refused_and_not_remembered(
    works: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, found = Underway(1), grammars()

    def within(seconds: float, key: Any, work: Callable[[], Any]) -> Any:
        return full.within(seconds, key, work, patience=0.01)

    monkeypatch.setattr(compile, "UNDERWAY", SimpleNamespace(within=within))
    assert full.within(0.01, "a", works.forever) is None
    for strict in (True, False):
        with pytest.raises(Overloaded, match="try again later") as refused:
            by_schema({"type": "string"}, strict=strict, found=found)
    answer = api_error(refused.value)
    assert (answer.status, answer.code, answer.retry_after) == (503, "overloaded", 5)
    works.end()
    assert by_schema({"type": "string"}, found=found).source.where == "schema"
