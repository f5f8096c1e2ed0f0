"""Answers that keep to a grammar, in the batch: from a program that says anything."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from cactus.errors import InsufficientMemory, InvalidRequest
from cactus.grammar.table import Table
from cactus.model import Model
from cactus.types import Completion
from tests.generate.scripted import (
    ANSWER,
    END,
    THINK,
    InThread,
    babbling,
    same,
    scripted_engine,
    uttering,
)

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "colours": {"type": "array", "items": {"enum": ["red", "green"]}, "maxItems": 3},
    },
    "required": ["name", "age", "colours"],
    "additionalProperties": False,
}


def model(script: Any = babbling, **options: Any) -> Model:
    return Model.from_engine(scripted_engine(script, **{"chunk": 40, "context": 2000, **options}))


def test_noise_becomes_an_answer_that_fits_the_schema() -> None:
    with model() as talker:
        for question in ("one", "two", "three"):
            answer = talker.chat(question, response_format=PERSON)
            value = json.loads(answer.text)
            assert answer.parsed == value
            assert list(value) == ["name", "age", "colours"]
            assert 0 <= value["age"] <= 150 and len(value["name"]) <= 8
            assert answer.structure is not None and answer.structure.valid
            assert answer.structure.unenforced == ()
            assert answer.finish_reason == "stop"


def test_ctrl_c_while_the_grammar_asks_for_tokens_is_no_fault_of_the_grammar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encode, asked = Table.encode, threading.Event()

    def interrupted(table: Table, text: str) -> list[int]:
        if threading.current_thread() is threading.main_thread() and not asked.is_set():
            asked.set()
            raise KeyboardInterrupt
        return encode(table, text)

    with model() as talker:
        expected = talker.chat("question", schema=PERSON).text
        monkeypatch.setattr(Table, "encode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            talker.chat("question", schema=PERSON)
        assert asked.is_set()
        assert talker.chat("question", schema=PERSON).text == expected


def test_what_must_come_is_fed_in_one_step() -> None:
    with model() as talker:
        program: Any = talker._engine.program
        answer = talker.chat("question", schema=PERSON)
        steps = [tokens for tokens in program.steps if len(tokens) > 1]
        assert len(program.steps) < len(answer.tokens)
        assert any(bytes(tokens[1:]).endswith(b'age"') for tokens in steps)


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_an_answer_is_the_same_in_any_company(slope: float) -> None:
    questions = [f"question {n}" for n in range(5)]
    with model(slope=slope) as talker:
        alone = [talker.chat(question, schema=PERSON) for question in questions]
        plain = talker.chat("a poem", max_tokens=30)
    with model(slope=slope) as talker:
        gate = threading.Barrier(6)

        def ask(question: str, **options: Any) -> Callable[[], Completion]:
            def work() -> Completion:
                gate.wait(10)
                return talker.chat(question, **options)

            return work

        threads = [InThread(ask(question, schema=PERSON)) for question in questions]
        other = InThread(ask("a poem", max_tokens=30))
        together = [thread.result() for thread in threads]
        assert same(other.result(), plain)
    assert all(map(same, alone, together))


def test_guesses_change_nothing() -> None:
    question = json.dumps({"name": "Ada", "age": 36, "colours": ["red", "red"]})
    script = uttering([*question.encode(), END])
    answers = []
    for options in ({"slope": 0.0}, {"slope": 1.0}, {"slope": 0.0, "grain": 8}):
        with model(script, **options) as talker:
            answers.append(talker.chat(question, schema=PERSON))
    with model(script, slope=0.0) as talker:
        answers.append(talker.chat(question, schema=PERSON, speculation=False))
    assert answers[0].parsed == json.loads(question)
    assert all(same(answers[0], other) for other in answers[1:])


@pytest.mark.parametrize("most", range(8, 60, 3))
def test_an_answer_is_whole_when_its_tokens_run_out(most: int) -> None:
    words = {"type": "array", "items": {"type": "string"}}
    with model() as talker:
        answer = talker.chat("question", schema=words, max_tokens=most)
    assert isinstance(answer.parsed, list)
    assert answer.finish_reason in ("length", "stop")
    assert len(answer.tokens) <= most


def test_an_answer_that_had_to_be_closed_says_so() -> None:
    endless = uttering([*b'["aaaaaaaaa', *[97] * 10_000])
    words = {"type": "array", "items": {"type": "string"}}
    with model(endless) as talker:
        answer = talker.chat("question", schema=words, max_tokens=100)
    assert answer.finish_reason == "length"
    assert [set(word) for word in answer.parsed] == [{"a"}]
    assert 70 < len(answer.tokens) <= 100


def test_forced_tokens_do_not_count_in_confidence() -> None:
    entropies: dict[int, float] = {}

    def script(history: list[int], answered: int) -> tuple[int, float]:
        return history[-1], entropies.get(answered, 5.0)

    with model(script) as talker:
        answer = talker.chat("question", response_format=["maybe", "never"])
        first = answer.tokens[0]
        assert bytes([first]) in (b"m", b"n")
        chosen = talker.chat("question", response_format=["maybe", "never"], logprobs=True)
        assert chosen.confidence == answer.confidence
        assert len(answer.logprobs) == len(answer.tokens) == 5
        entropies |= {n: 0.0 for n in range(1, 9)}
        assert talker.chat("question", response_format=["maybe", "never"]).confidence == (
            answer.confidence
        )


def test_reasoning_before_the_answer_is_free() -> None:
    said = [THINK, *b"Hm. {[", ANSWER, *b"\n", *b'"yes"', END]
    template = "{{ messages[-1].content }}<think>"
    with model(uttering(said[1:]), tags=True, template=template) as thinker:
        answer = thinker.chat("question", schema={"enum": ["yes", "no"]})
        assert answer.reasoning == "Hm. {["
        assert answer.text == '"yes"' and answer.parsed == "yes"
    with model(uttering(said), tags=True) as thinker:
        answer = thinker.chat("question", schema={"enum": ["yes", "no"]})
        assert answer.reasoning == "Hm. {["
        assert answer.parsed == "yes"


def test_reasoning_that_takes_all_tokens_is_ended_for_the_answer() -> None:
    template = "{{ messages[-1].content }}<think>"
    with model(uttering([97]), tags=True, template=template) as thinker:
        answer = thinker.chat("question", schema={"enum": ["yes", "no"]}, max_tokens=60)
    assert answer.parsed in ("yes", "no")
    assert answer.finish_reason == "length"
    assert answer.reasoning is not None and set(answer.reasoning) == {"a"}


def test_reasoning_cannot_end_the_answer() -> None:
    template = "{{ messages[-1].content }}<think>"
    with model(uttering([END]), tags=True, template=template) as thinker:
        answer = thinker.chat("question", schema={"enum": ["yes", "no"]}, max_tokens=60)
    assert answer.parsed in ("yes", "no")


def test_spelled_reasoning_is_free_too() -> None:
    said = b'<think>why < not</think>\n\n"no"'
    template = "{# <think> #}{{ messages[-1].content }}"
    with model(uttering([*said, END]), template=template) as thinker:
        answer = thinker.chat("question", schema={"enum": ["yes", "no"]})
        assert (answer.reasoning, answer.text) == ("why < not", '"no"')


def test_without_thinking_there_is_no_reasoning() -> None:
    template = "{{ messages[-1].content }}{% if enable_thinking %}{% endif %}{# <think> #}"
    with model(uttering([THINK, *b"hm"]), tags=True, template=template) as thinker:
        answer = thinker.chat("question", schema={"enum": ["yes", "no"]}, thinking=False)
        assert answer.reasoning is None and answer.parsed in ("yes", "no")


def test_a_stopped_answer_has_no_value() -> None:
    with model() as talker, talker.stream("question", schema=PERSON) as stream:
        next(iter(stream))
        stream.close()
        assert stream.completion.parsed is None
        assert stream.completion.structure is not None
        assert stream.completion.structure.valid is None


@pytest.mark.parametrize(
    ("options", "valid"),
    [({}, True), ({"max_tokens": 2}, None), ({"stop": "ve"}, None)],
)
def test_a_text_that_was_cut_is_not_called_valid(
    options: dict[str, Any], valid: bool | None
) -> None:
    with model(uttering([*b"seven", END])) as talker:
        answer = talker.chat("question", response_format=["seven", "twelve"], **options)
        assert answer.structure is not None and answer.structure.valid is valid
        assert (answer.text == "seven") is bool(valid)


def test_a_lane_that_gave_its_memory_up_goes_on_where_it_was() -> None:
    with model() as talker:
        alone = [talker.chat(f"question {n}", schema=PERSON) for n in range(3)]
    with model() as talker:
        program: Any = talker._engine.program
        count = 0

        def during(_tokens: Any) -> None:
            nonlocal count
            count += 1
            if count in (7, 14):
                raise InsufficientMemory("no memory")

        program.during = during
        found = talker.chat_many([f"question {n}" for n in range(3)], schema=PERSON)
    assert all(map(same, alone, found))


def test_a_grammar_that_fails_ends_its_own_answer_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from cactus.grammar.guide import Guide

    right = Guide.masks

    def masks(self: Guide, answer: Any, following: Any) -> Any:
        if len(answer) >= 5 and not self._grammar.source.json:
            raise InvalidRequest("response_format: too much work")
        return right(self, answer, following)

    monkeypatch.setattr(Guide, "masks", masks)
    with model() as talker:
        talker.chat("question", schema=PERSON)
        gate = threading.Barrier(2)

        def work(**options: Any) -> Callable[[], Any]:
            def run() -> Any:
                gate.wait(10)
                return talker.chat("question", **options)

            return run

        well = InThread(work(schema=PERSON))
        badly = InThread(work(response_format={"type": "regex", "regex": "[a-z]{20}"}))
        with pytest.raises(InvalidRequest, match="too much work"):
            badly.result()
        assert well.result().parsed["age"] <= 150


WEATHER = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"place": {"type": "string", "maxLength": 9}},
        "required": ["place"],
    },
}
CLOCK = {"name": "get_time"}


def test_a_forced_call_is_made_whatever_the_model_says() -> None:
    with model(chunk=99) as talker:
        program: Any = talker._engine.program
        for options in ({"force_tools": True}, {"tool_choice": "required"}):
            program.steps.clear()
            answer = talker.chat("question", tools=[WEATHER, CLOCK], **options)
            assert answer.finish_reason == "tool_calls"
            assert {call["name"] for call in answer.function_calls} <= {"get_weather", "get_time"}
            assert answer.text == ""
            assert answer.structure is not None and answer.structure.valid
            assert len(program.steps) < len(answer.tokens) / 2


def test_a_call_of_one_tool_can_be_forced() -> None:
    with model() as talker:
        for choice in ("get_time", {"type": "function", "function": {"name": "get_time"}}):
            answer = talker.chat(
                "question", tools=[WEATHER, CLOCK], tool_choice=choice, parallel_tool_calls=False
            )
            assert answer.function_calls == ({"name": "get_time", "arguments": {}},)


def test_a_forced_call_is_streamed_as_it_is_made() -> None:
    with model() as talker:
        plain = talker.chat("question", tools=[WEATHER], force_tools=True)
        with talker.stream("question", tools=[WEATHER], force_tools=True) as stream:
            calls = [event.tool_call.call for event in stream if event.tool_call is not None]
        assert tuple(call for call in calls if call) == plain.function_calls


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"force_tools": True}, "a call is wanted .* there are no tools"),
        (
            {"tools": [CLOCK], "tool_choice": "clock"},
            "tool_choice names 'clock'; the tools are get_",
        ),
        ({"tools": [CLOCK], "tool_choice": 5}, "tool_choice must be 'auto', 'none', 'required' or"),
        (
            {"tools": [CLOCK], "force_tools": True, "tool_choice": "none"},
            "force_tools wants a call",
        ),
        (
            {"tools": [CLOCK], "response_format": ["a"]},
            "response_format: beside tools an answer may be JSON, not in this form",
        ),
        (
            {"tools": [CLOCK], "schema": {}, "force_tools": True},
            "schema: tool_choice wants a call instead",
        ),
        ({"schema": {}, "response_format": {}}, "schema and response_format both say"),
    ],
)
def test_what_cannot_be_had_together_is_an_error(options: Any, message: str) -> None:
    with model() as talker, pytest.raises(InvalidRequest, match=message):
        talker.chat("question", **options)


def test_calls_that_break_what_was_not_enforced_are_told() -> None:
    ids = {"type": "array", "items": {"enum": [1]}, "uniqueItems": True, "minItems": 2}
    tool = {"name": "f", "parameters": {"type": "object", "properties": {"ids": ids}}}
    tool["parameters"]["required"] = ["ids"]
    with model() as talker:
        answer = talker.chat("question", tools=[tool], force_tools=True)
    assert answer.structure is not None and answer.structure.valid is False
    assert "tools[0].parameters.properties.ids.uniqueItems" in answer.structure.unenforced[0]
    assert answer.structure.errors[0].startswith("f.ids: [1, 1")
