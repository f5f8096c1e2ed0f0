"""Answers to many conversations as each ends, and conversations that are asked for as it goes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from cactus.errors import Cancelled, InvalidRequest
from cactus.generate.many import AT_ONCE
from tests.generate.scripted import same, saying
from tests.generate.test_many import ask, rambling


def test_answers_come_as_they_end(make: Any) -> None:
    model, _ = make(rambling)
    texts = [*"abcdefghijkl"]
    expected = model.chat_many(texts)
    with model.chat_as_completed(texts) as answers:
        found = list(answers)
    assert [index for index, _ in found] != list(range(12)), "the shorter ones come first"
    assert sorted(index for index, _ in found) == list(range(12))
    assert all(same(done, expected[index]) for index, done in found)


def test_errors_come_first_among_them_or_are_raised(make: Any) -> None:
    model, _ = make(saying("Hi"))
    with model.chat_as_completed(["a", [], "b"], return_exceptions=True) as answers:
        index, error = next(answers)
        assert index == 1 and isinstance(error, InvalidRequest)
        assert sorted((index, done.text) for index, done in answers) == [(0, "Hi"), (2, "Hi")]
    with pytest.raises(InvalidRequest, match=r"conversations\[1\]"):
        model.chat_as_completed(["a", []])


def test_answers_that_nobody_waits_for_free_the_model(make: Any) -> None:
    model, program = make(rambling)
    with model.chat_as_completed([*"abcdefghijkl"]) as answers:
        next(answers)
        assert model.chat("x").text
    assert sum(not session.closed for session in program.sessions) == 1, "what chat remembers"
    assert model.chat("x").text and list(answers) == []


def test_a_stop_gives_what_there_is_of_the_rest(make: Any) -> None:
    model, _ = make(rambling)
    with model.chat_as_completed([*"abcdefghijkl"]) as answers:
        next(answers)
        model.stop()
        rest = list(answers)
    assert len(rest) == 11 and {done.finish_reason for _, done in rest} >= {"cancelled"}


def test_close_between_two_answers_cancels_the_rest(make: Any) -> None:
    model, program = make(rambling)
    with model.chat_as_completed([*"abcdefghijkl"]) as answers:
        next(answers)
        model.close()
        with pytest.raises(Cancelled):
            next(answers)
    assert program.closed


def test_an_endless_iterator_is_asked_when_there_is_a_place(make: Any) -> None:
    model, program = make(rambling)
    asked = []

    def conversations() -> Any:
        for number in itertools.count():
            asked.append(number)
            yield [] if number == 5 else ask(f"{number}")[0]

    found = {}
    with model.chat_as_completed(conversations(), return_exceptions=True) as answers:
        for index, answer in answers:
            found[index] = answer
            assert len(asked) <= len(found) + AT_ONCE
            if len(found) == 100:
                break
    assert isinstance(found.pop(5), InvalidRequest)
    alone = model.chat_many([ask(f"{index}")[0] for index in found])
    assert all(map(same, found.values(), alone))
    assert all(session.closed for session in program.sessions)
    answers = model.chat_as_completed(iter([[], "a"]))
    with answers, pytest.raises(InvalidRequest, match=r"conversations\[0\]"):
        next(answers)


def test_a_stop_asks_an_iterator_for_no_more(make: Any) -> None:
    model, _ = make(rambling)
    asked = []

    def conversations() -> Any:
        for number in itertools.count():
            asked.append(number)
            yield ask(f"{number}")[0]

    with model.chat_as_completed(conversations()) as answers:
        next(answers)
        before = len(asked)
        model.stop()
        rest = list(answers)
    assert len(asked) == before and len(rest) == before - 1
    assert {done.finish_reason for _, done in rest} >= {"cancelled"}
