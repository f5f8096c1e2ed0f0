"""Calls of tools in an answer: results, events, stop strings, reasoning, interrupts, batches."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from cactus import Model
from cactus.chat.calls.parser import CallParser, Found
from cactus.types import Completion, StreamEvent
from tests.generate.scripted import (
    ANSWER,
    END,
    THINK,
    Harness,
    InThread,
    joined,
    lanes,
    read,
    saying,
    uttering,
    wait_until,
)

TOOLS = {"get_weather": {"properties": {"location": {"type": "string"}}}, "now": {}}
CALL = '{"name": "get_weather", "arguments": {"location": "Köln"}}'
TAGGED = f"<tool_call>{CALL}</tool_call>"
NOW = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'
DEFINITIONS = [{"name": name, "parameters": each} for name, each in TOOLS.items()]
KOELN = {"name": "get_weather", "arguments": {"location": "Köln"}}


def answered(text: str, **options: Any) -> tuple[list[StreamEvent], Completion]:
    """The events and the completion of an answer that may call `TOOLS`."""
    rig = Harness(saying(text), context=2000)
    return read(rig.start(tools=TOOLS, **options))


def told(events: list[StreamEvent]) -> list[tuple[int, str, str, Any]]:
    """What the events tell of each call: index, name, arguments, and the complete one."""
    calls: dict[str, list[Any]] = {}
    for event in events:
        delta = event.tool_call
        if delta is not None:
            call = calls.setdefault(delta.id, [delta.index, delta.name, "", None])
            assert (delta.index, delta.name) == tuple(call[:2]) and call[3] is None
            call[2] += delta.arguments
            call[3] = delta.call
    return [tuple(call) for call in calls.values()]


def test_a_call_is_in_function_calls_and_not_in_the_text() -> None:
    events, done = answered(f"I look.\n{TAGGED}")
    assert (done.text, done.finish_reason) == ("I look.", "tool_calls")
    assert done.function_calls == (KOELN,)
    assert joined(events) == "I look."
    assert told(events) == [(0, "get_weather", '{"location": "Köln"}', KOELN)]


def test_each_token_has_an_event_and_the_pieces_come_one_by_one() -> None:
    events, done = answered(TAGGED)
    assert len(events) == len(done.tokens)
    deltas = [event.tool_call for event in events if event.tool_call]
    assert (deltas[0].arguments, deltas[0].call) == ("", None)
    assert len([delta for delta in deltas if delta.arguments]) > 15
    assert all(event.kind == "tool_call" and not event.text for event in events if event.tool_call)
    assert deltas[-1].call == KOELN


def test_several_calls_have_indices_and_ids_of_their_own() -> None:
    events, done = answered(f"{TAGGED}\n{NOW}\n{TAGGED}")
    assert [call["name"] for call in done.function_calls] == ["get_weather", "now", "get_weather"]
    assert [call[0] for call in told(events)] == [0, 1, 2]
    assert len(set(done.call_ids)) == 3
    assert all(len(id) == 9 and id.isalnum() for id in done.call_ids)
    assert {event.tool_call.id for event in events if event.tool_call} == set(done.call_ids)


def test_the_message_of_an_answer_is_in_the_form_of_openai() -> None:
    _, done = answered(f"I look. {TAGGED}{NOW}")
    assert done.message == {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [
            {
                "id": done.call_ids[0],
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"location": "Köln"}'},
            },
            {
                "id": done.call_ids[1],
                "type": "function",
                "function": {"name": "now", "arguments": "{}"},
            },
        ],
    }
    assert answered(TAGGED)[1].message["content"] is None
    assert answered("Hi")[1].message == {"role": "assistant", "content": "Hi"}


def test_the_same_answer_has_the_same_ids() -> None:
    assert answered(TAGGED)[1].call_ids == answered(TAGGED)[1].call_ids


@pytest.mark.fault("F37")
@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (f"<tool_call>{CALL[:-3]}", ()),
        ('<tool_call>{"name": "launch", "arguments": {}}</tool_call>', ()),
        (f"{TAGGED} <tool_call>oops</tool_call>", (KOELN,)),
    ],
)
def test_a_broken_or_unknown_call_stays_text(text: str, calls: tuple[Any, ...]) -> None:
    events, done = answered(text)
    assert done.function_calls == calls
    assert done.text == joined(events) == text.removeprefix(TAGGED if calls else "").lstrip()
    assert done.finish_reason == ("tool_calls" if calls else "stop")


@pytest.mark.fault("F37")
def test_a_call_that_is_cut_is_text_and_the_reason_is_length() -> None:
    events, done = answered(TAGGED, max_tokens=50)
    assert done.text == joined(events) == TAGGED.encode()[:50].decode()
    assert (done.function_calls, done.finish_reason) == ((), "length")
    dropped = [event.tool_call for event in events if event.tool_call][-1]
    assert dropped.dropped and dropped.index == 0
    _, whole = answered(f"{TAGGED}{TAGGED}", max_tokens=len(TAGGED.encode()) + 10)
    assert (whole.function_calls, whole.finish_reason) == ((KOELN,), "length")


def test_one_call_is_the_last_without_parallel_calls() -> None:
    events, done = answered(f"Look: {TAGGED}{NOW} and more", parallel_tool_calls=False)
    assert (done.text, done.function_calls, done.finish_reason) == ("Look:", (KOELN,), "tool_calls")
    assert len(done.tokens) == len(f"Look: <tool_call>{CALL}".encode())
    assert told(events)[-1][3] == KOELN


def test_without_tools_markup_is_text() -> None:
    done = Harness(saying(TAGGED)).answer()
    assert (done.text, done.function_calls, done.finish_reason) == (TAGGED, (), "stop")


def test_stop_strings_are_looked_for_in_the_text_alone() -> None:
    _, done = answered(f"A {TAGGED} B STOP C", stop=["STOP", "name", "}"])
    assert (done.text, done.function_calls) == ("A B ", (KOELN,))
    assert done.finish_reason == "tool_calls"
    _, done = answered(f"A STOP {TAGGED}", stop="STOP")
    assert (done.text, done.function_calls, done.finish_reason) == ("A ", (), "stop")
    _, done = answered(f"A ST{TAGGED}OP", stop="STOP")
    assert (done.text, done.function_calls) == ("A STOP", (KOELN,))


def test_reasoning_comes_before_calls_and_has_none() -> None:
    script = uttering([THINK, *f"I need {NOW}".encode(), ANSWER, *f"\n{TAGGED}".encode(), END])
    rig = Harness(script, context=2000, tags=True)
    events, done = read(rig.start(tools=TOOLS, reasoning="possible"))
    assert done.reasoning == f"I need {NOW}"
    assert (done.text, done.function_calls) == ("", (KOELN,))
    assert done.message["reasoning_content"] == done.reasoning
    assert "".join(event.text for event in events if event.kind == "reasoning") == done.reasoning


@pytest.mark.fault("F37")
def test_an_answer_that_is_stopped_inside_a_call_has_it_as_text() -> None:
    rig = Harness(saying(TAGGED), context=2000)
    generation = rig.start(tools=TOOLS)
    events = []
    for event in generation.events():
        events.append(event)
        if len(events) == 40:
            rig.call.stop()
    done = generation.result
    assert done is not None and done.finish_reason == "cancelled"
    assert done.text == joined(events) == TAGGED.encode()[:40].decode()
    assert done.function_calls == ()


def test_an_answer_done_again_has_the_same_calls() -> None:
    rig = Harness(saying(f"Look {TAGGED}{NOW}"), context=2000)
    generation = rig.start(tools=TOOLS)
    done = generation.run()
    lane: Any = generation._lane
    for count in (0, 10, 40, len(lane._outputs)):
        again = lane.answer.again(lane._outputs[:count]).completion()
        assert again.function_calls == done.function_calls[: len(again.function_calls)]
        assert again.call_ids == done.call_ids[: len(again.call_ids)]
    assert again.function_calls == done.function_calls and again.text == done.text


@pytest.mark.timeout(60)
@pytest.mark.parametrize("at", [1, 20, 45, 70])
def test_an_interrupt_in_the_middle_of_a_call_changes_no_other_answer(
    scripted_model: Callable[..., Model], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    model = scripted_model(saying(f"Look: {TAGGED}{NOW}"), context=2000)
    expected = model.chat("beside", tools=DEFINITIONS)
    program: Any = model._engine.program
    program.during = lambda _tokens: time.sleep(0.0005)
    beside = InThread(lambda: model.chat("beside", tools=DEFINITIONS))
    wait_until(lambda: len(lanes(model)) > 0)
    push, here, pushes = CallParser.push, threading.get_ident(), itertools.count(1)

    def interrupted(self: CallParser, piece: str) -> list[Found]:
        found = push(self, piece)
        if threading.get_ident() == here and next(pushes) == at:
            raise KeyboardInterrupt
        return found

    monkeypatch.setattr(CallParser, "push", interrupted)
    with contextlib.suppress(KeyboardInterrupt):
        model.chat("the victim", tools=DEFINITIONS)
    done = beside.result()
    assert (done.text, done.function_calls, done.call_ids) == (
        expected.text,
        expected.function_calls,
        expected.call_ids,
    )


def test_many_answers_have_the_calls_that_each_has_alone(
    scripted_model: Callable[..., Model],
) -> None:
    def script(history: list[int], answered: int) -> int:
        asked = bytes(history).rpartition(b"u:")[2][:1]
        said = [TAGGED, f"Two: {TAGGED}{NOW}", "none"][asked[0] - ord("0")].encode()
        return said[answered] if answered < len(said) else END

    model = scripted_model(script, context=2000)
    alone = [model.chat(text, tools=DEFINITIONS) for text in "012"]
    together = model.chat_many(list("012"), tools=DEFINITIONS)
    for one, other in zip(alone, together, strict=True):
        assert (one.text, one.function_calls) == (other.text, other.function_calls)
        assert (one.call_ids, one.finish_reason) == (other.call_ids, other.finish_reason)
    assert [len(one.function_calls) for one in alone] == [1, 2, 0]


def test_a_call_comes_in_every_form_of_a_chat(scripted_model: Callable[..., Model]) -> None:
    model = scripted_model(saying(TAGGED), context=2000)
    with model.stream("Hi", tools=DEFINITIONS) as stream:
        assert told(list(stream))[0][3] == KOELN
    assert stream.completion.function_calls == (KOELN,)

    async def ask() -> tuple[Completion, list[StreamEvent]]:
        done = await model.achat("Hi", tools=DEFINITIONS)
        return done, [event async for event in model.astream("Hi", tools=DEFINITIONS)]

    done, events = asyncio.run(ask())
    assert done.function_calls == (KOELN,) and told(events)[0][3] == KOELN
    assert model.chat("Hi", tools=DEFINITIONS, tool_choice="none").function_calls == ()
    assert model.complete("Hi").text == TAGGED


def test_markup_that_is_special_tokens_is_read_and_never_shown() -> None:
    start, end, escape, response = 260, 261, 262, 263
    said = [*b"I look. ", start, *b"call:get_weather{location:", escape, *"Köln".encode(), escape]
    rig = Harness(uttering([*said, *b"}", end, response, *b"oops", END]), context=2000)
    tokenizer: Any = rig.engine.tokenizer
    tokenizer._special |= {
        "<start_function_call>": start,
        "<end_function_call>": end,
        "<escape>": escape,
        "<start_function_response>": response,
    }
    done = rig.start(tools=TOOLS).run()
    assert (done.text, done.function_calls, done.finish_reason) == (
        "I look.",
        (KOELN,),
        "tool_calls",
    )
    assert done.tokens[-1] == end, "the model waits for the response, and does not write it"
    plain = rig.start("again", max_tokens=40).run()
    assert "<" not in plain.text, "without tools they have no text"
