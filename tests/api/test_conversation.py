"""A conversation that keeps its messages."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from cactus import Model
from cactus.errors import ContextLengthExceeded, InvalidRequest
from tests.generate.scripted import END, babbling, joined, saying

Make = Callable[..., Model]


def said(*turns: str) -> list[dict[str, str]]:
    """Messages of "u:..." and "a:..." and "s:..."."""
    roles = {"u": "user", "a": "assistant", "s": "system"}
    return [{"role": roles[turn[0]], "content": turn[2:]} for turn in turns]


def test_a_conversation_keeps_what_was_said(scripted_model: Make) -> None:
    model = scripted_model(saying("Hi"))
    talk = model.conversation("Be brief.")
    assert talk.messages == said("s:Be brief.")
    assert talk.chat("Hello").text == "Hi"
    second = talk.chat("Again")
    assert talk.messages == said("s:Be brief.", "u:Hello", "a:Hi", "u:Again", "a:Hi")
    assert second.metrics.prefill_tokens == len("\nu:Again\na:"), "the rest was in the cache"


def test_its_answers_are_those_of_chat(scripted_model: Make) -> None:
    talk = scripted_model(babbling).conversation(max_tokens=5)
    talk.chat("one")
    answer = talk.chat("two", max_tokens=7)
    assert len(answer.tokens) == 7
    alone = scripted_model(babbling).chat(talk.messages[:-1], max_tokens=7)
    assert answer.tokens == alone.tokens


def test_a_question_is_a_text_whatever_it_looks_like(scripted_model: Make) -> None:
    talk = scripted_model(saying("Hi")).conversation()
    question = json.dumps(said("u:x"))
    talk.chat(question)
    assert talk.messages[0] == {"role": "user", "content": question}


def test_a_streamed_turn_is_kept_at_its_end(scripted_model: Make) -> None:
    talk = scripted_model(saying("Hi")).conversation()
    with talk.stream("Hello") as stream:
        next(stream)
        assert talk.messages == []
        list(stream)
        assert talk.messages == said("u:Hello", "a:Hi")
    assert talk.messages == said("u:Hello", "a:Hi"), "once"


def test_a_stream_closed_early_is_kept_as_far_as_it_got(scripted_model: Make) -> None:
    talk = scripted_model(babbling).conversation()
    with talk.stream("Hello") as stream:
        first = next(stream).text
    assert talk.messages == said("u:Hello", f"a:{first}")
    talk.stream("Unread").close()
    assert len(talk.messages) == 2, "nothing was asked"


def test_the_async_forms_keep_their_turns(scripted_model: Make) -> None:
    async def work() -> None:
        talk = scripted_model(saying("Hi")).conversation()
        await talk.achat("one")
        async with talk.astream("two") as stream:
            assert "".join([event.text async for event in stream]) == "Hi"
        async with talk.astream("three") as stream:
            await anext(stream)
        assert talk.messages == said("u:one", "a:Hi", "u:two", "a:Hi", "u:three", "a:H")

    asyncio.run(work())


def test_a_call_that_raises_leaves_the_conversation_as_it_was(scripted_model: Make) -> None:
    model = scripted_model(saying("Hi"), context=60)
    talk = model.conversation()
    talk.chat("Hello")
    before = talk.messages
    with pytest.raises(ContextLengthExceeded):
        talk.chat("x" * 100)
    with pytest.raises(InvalidRequest, match="max_tokens"):
        talk.chat("x", max_tokens=-1)
    with pytest.raises(InvalidRequest, match="question must be a string, got None"):
        talk.chat(None)
    assert talk.messages == before


def calling(history: list[int], answered: int) -> int:
    """Calls two tools, and says what the results were."""
    asked = bytes(history).rpartition(b"a:")[0]
    call = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'
    said = "It is noon" if b"t:" in asked else f"{call}\n{call}"
    return said.encode()[answered] if answered < len(said) else END


def test_results_of_tools_go_back_and_the_model_goes_on(scripted_model: Make) -> None:
    talk = scripted_model(calling, context=2000).conversation(tools=[{"name": "now"}])
    answer = talk.chat("When?")
    assert answer.finish_reason == "tool_calls" and len(answer.function_calls) == 2
    assert talk.messages == [{"role": "user", "content": "When?"}, answer.message]
    talk.tool_result({"hour": 12, "zone": "ü"}, answer.call_ids[1])
    talk.tool_result("noon")
    results = talk.messages[2:]
    assert [turn["tool_call_id"] for turn in results] == list(reversed(answer.call_ids))
    assert [turn["content"] for turn in results] == ['{"hour": 12, "zone": "ü"}', "noon"]
    assert {(turn["role"], turn["name"]) for turn in results} == {("tool", "now")}
    assert talk.chat().text == "It is noon"
    assert [turn["role"] for turn in talk.messages][-2:] == ["tool", "assistant"]
    talk.undo()
    assert talk.messages == []


def test_a_result_needs_a_call_that_waits_for_it(scripted_model: Make) -> None:
    talk = scripted_model(calling, context=2000).conversation(tools=[{"name": "now"}])
    with pytest.raises(InvalidRequest, match="no call waits for a result; those that do: none"):
        talk.tool_result("noon")
    first, second = talk.chat("When?").call_ids
    talk.tool_result("noon", first)
    before = talk.messages
    with pytest.raises(InvalidRequest, match=f"no call '{first}' waits .*: {second}"):
        talk.tool_result("noon", first)
    with pytest.raises(InvalidRequest, match="result: expected a JSON value"):
        talk.tool_result(object())
    assert talk.messages == before


def test_a_streamed_turn_goes_on_from_results_too(scripted_model: Make) -> None:
    talk = scripted_model(calling, context=2000).conversation(tools=[{"name": "now"}])
    list(talk.stream("When?"))
    talk.tool_result("noon")
    assert joined(talk.stream()) == "It is noon"
    assert talk.messages[-1] == {"role": "assistant", "content": "It is noon"}


def test_a_hand_off_is_not_kept(scripted_model: Make) -> None:
    talk = scripted_model(saying("Hi", entropies=[5.0])).conversation()
    assert talk.chat("Hello", confidence_threshold=0.9).cloud_handoff
    assert talk.messages == []


def test_reasoning_is_kept_beside_the_answer(scripted_model: Make) -> None:
    model = scripted_model(saying("<think>hm</think>Hi"), template="<think>{{ messages|length }}")
    talk = model.conversation()
    talk.chat("Hello")
    assert talk.messages[1] == {"role": "assistant", "content": "Hi", "reasoning_content": "hm"}


def test_reset_and_undo(scripted_model: Make) -> None:
    talk = scripted_model(saying("Hi")).conversation("Be brief.")
    with pytest.raises(InvalidRequest, match="nothing was asked"):
        talk.undo()
    talk.chat("one")
    talk.chat("two")
    talk.undo()
    assert talk.messages == said("s:Be brief.", "u:one", "a:Hi")
    talk.chat("three")
    talk.reset()
    assert talk.messages == said("s:Be brief.")


def test_an_answer_that_ends_after_a_reset_is_not_kept(scripted_model: Make) -> None:
    talk = scripted_model(saying("Hi")).conversation()
    with talk.stream("Hello") as stream:
        next(stream)
        talk.reset()
        assert joined(stream) == "i"
    assert talk.messages == []


def test_messages_are_a_copy_and_can_be_set(scripted_model: Make) -> None:
    talk = scripted_model(saying("Hi")).conversation()
    talk.messages.append({"role": "user", "content": "x"})
    assert talk.messages == []
    saved: list[dict[str, Any]] = json.loads(json.dumps(said("s:Be.", "u:one", "a:1")))
    talk.messages = saved
    saved.clear()
    talk.chat("two")
    assert talk.messages == said("s:Be.", "u:one", "a:1", "u:two", "a:Hi")
    with pytest.raises(InvalidRequest, match=r"messages\[0\].role"):
        talk.messages = [{"content": "x"}]
    assert len(talk.messages) == 5
    talk.messages = []
    assert talk.messages == []


def test_two_conversations_do_not_mix(scripted_model: Make) -> None:
    model = scripted_model(babbling)
    one, two = model.conversation(max_tokens=4), model.conversation(max_tokens=4)
    one.chat("a")
    two.chat("b")
    one.chat("c")
    assert [m["content"] for m in one.messages[::2]] == ["a", "c"]
    assert len(two.messages) == 2


def test_what_is_wrong_is_said_when_it_begins(scripted_model: Make) -> None:
    model = scripted_model(saying("Hi"))
    with pytest.raises(InvalidRequest, match="temperature"):
        model.conversation(temperature=-1)
    with pytest.raises(InvalidRequest, match="system must be a string, got 5"):
        model.conversation(5)  # type: ignore[arg-type]


def test_it_shows_itself_and_is_not_copied(scripted_model: Make) -> None:
    def script(_history: list[int], _answered: int) -> int:
        return END

    talk = scripted_model(script).conversation("Be brief.")
    assert repr(talk).startswith("<Conversation of 1 messages with <Model scripted")
    for again in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="Conversation cannot be pickled or copied"):
            again(talk)


@pytest.mark.parametrize("wrong", ["hi", '[{"role": "user", "content": "hi"}]', b"hi", None, 5, {}])
def test_messages_that_are_set_must_be_a_list(scripted_model: Make, wrong: Any) -> None:
    talk = scripted_model(saying("Hi")).conversation("Be brief.")
    with pytest.raises(InvalidRequest, match=f"messages must be a list.*{type(wrong).__name__}"):
        talk.messages = wrong
    assert talk.messages == said("s:Be brief.")
