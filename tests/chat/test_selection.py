"""Which tools are kept where there are more than a model should be shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from benchmarks.tool_selection import load, misses
from hypothesis import given
from hypothesis import strategies as st

from cactus.api import _complete
from cactus.chat.messages import parse_messages
from cactus.chat.ranking import features, stem, words
from cactus.chat.selection import select_tools
from cactus.chat.tools import validate_tools
from cactus.model import Model
from tests.generate.scripted import saying


def tool(name: str, description: str, **parameters: str) -> dict[str, Any]:
    properties = {key: {"type": "string", "description": text} for key, text in parameters.items()}
    return {
        "name": name,
        "description": description,
        "parameters": {"type": "object", "properties": properties},
    }


TOOLS = validate_tools(
    [
        tool("sendEmail", "Send an email.", recipient="Address"),
        tool("get_weather", "Get the weather of a city.", city="City"),
        tool("play_music", "Play a song.", artist="Artist"),
        tool("HTTPGet", "Fetch a web page.", url="Address of the page"),
        tool("book_flight", "Book a flight.", destination="Airport"),
    ]
)


def kept(messages: Any, count: int = 2, named: str | None = None) -> list[str]:
    tools = select_tools(TOOLS, parse_messages(messages), count, named)
    return [each["function"]["name"] for each in tools]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: str = "Fine.", *calls: str) -> dict[str, Any]:
    made = [{"name": name, "arguments": {}} for name in calls]
    return {"role": "assistant", "content": text, **({"tool_calls": made} if made else {})}


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("What's the weather in Paris?", "get_weather"),
        ("email Bob", "sendEmail"),
        ("I want to hear songs", "play_music"),
        ("Fetch the page at example.com", "HTTPGet"),
        ("who is the recipient of the e-mails", "sendEmail"),
        ("flights to Rome", "book_flight"),
        ("FLIGHT", "book_flight"),
    ],
)
def test_names_descriptions_and_parameters_are_looked_at(question: str, wanted: str) -> None:
    assert kept(question, 1) == [wanted]


def test_none_is_left_out_where_there_are_not_too_many() -> None:
    everything = [each["function"]["name"] for each in TOOLS]
    for count in (0, 5, 6):
        assert kept("weather", count) == everything


@given(st.text(max_size=80), st.integers(1, 4))
def test_any_question_keeps_as_many_in_their_order(question: str, count: int) -> None:
    names = kept([user(question or "?")], count)
    assert len(names) == count
    order = [each["function"]["name"] for each in TOOLS]
    assert names == sorted(names, key=order.index)


def test_a_tool_that_was_called_stays() -> None:
    messages = [user("Play a song"), said("", "play_music"), said(), user("email Bob the weather")]
    assert set(kept(messages)) == {"sendEmail", "get_weather", "play_music"}


def test_a_tool_that_is_named_stays() -> None:
    assert "book_flight" in kept("email Bob", 1, named="book_flight")


def test_tools_stay_while_the_question_is_about_one_of_them() -> None:
    first = kept([user("weather, or an email?")])
    assert set(first) == {"get_weather", "sendEmail"}
    for more in ("And the weather tomorrow?", "Thanks!", "city?"):
        assert kept([user("weather, or an email?"), said(), user(more)]) == first
    assert "book_flight" in kept([user("weather, or an email?"), said(), user("Book a flight")])


def test_a_question_that_goes_on_is_about_what_was_asked_before() -> None:
    assert "get_weather" in kept([user("weather in Oslo?"), said(), user("and in Rome?")], 1)


def test_a_pasted_book_costs_no_more_than_its_ends() -> None:
    long = "weather " + "email " * 1_000_000 + "weather"
    assert features(long[:100])
    assert "sendEmail" in kept(long)


def test_names_are_split_and_words_lose_their_endings() -> None:
    assert list(words("getHTTPResponse_code2 naïve café's")) == [
        *("http", "response", "code", "2", "naive", "cafe"),
    ]
    for group in ("drive driving drives", "stop stopped stopping", "city cities", "class classes"):
        assert len({stem(word) for word in group.split()}) == 1, group
    for word in ("is", "bus", "glass", "sing", "red", "", "天気"):
        assert stem(word) in (word, word + "e")


def test_the_result_says_which_were_kept(scripted_model: Callable[..., Model]) -> None:
    model = scripted_model(saying("Hi"), context=9000, chunk=512)
    names = tuple(each["function"]["name"] for each in TOOLS)
    assert model.chat("email", tools=TOOLS).tools_kept == names
    assert model.chat("email", tools=TOOLS, tool_rag_top_k=1).tools_kept == ("sendEmail",)
    assert model.chat("email").tools_kept == ()
    named = model.chat("email", tools=TOOLS, tool_rag_top_k=1, tool_choice="get_weather")
    assert named.tools_kept == ("sendEmail", "get_weather")
    many = model.chat_many(["weather", "email"], tools=TOOLS, tool_rag_top_k=1)
    assert [each.tools_kept for each in many] == [("get_weather",), ("sendEmail",)]


def test_the_flat_functions_keep_two(scripted_model: Callable[..., Model]) -> None:
    def read(**options: Any) -> int:
        model = scripted_model(saying("Hi"), context=9000, chunk=512)
        told = json.loads(_complete(lambda: model, "email", {"tools": TOOLS, **options}))
        return int(told["prefill_tokens"])

    assert read() == read(tool_rag_top_k=2) == read(tool_rag_top_k=None) < read(tool_rag_top_k=0)


def test_a_conversations_cache_is_left_alone(scripted_model: Callable[..., Model]) -> None:
    model = scripted_model(saying("Fine."), context=9000, chunk=512)
    talk = model.conversation(tools=TOOLS, tool_rag_top_k=2)
    talk.chat("What is the weather in Rome?")
    for more in ("And in Oslo?", "Thanks a lot!", "How is the weather there tomorrow?"):
        cost = talk.chat(more).metrics
        assert cost.prefill_tokens < 100 < cost.cached_tokens


def test_sixty_tools_and_a_hundred_requests() -> None:
    tools, pairs = load()
    assert (len(tools), len(pairs)) == (60, 100)
    assert len(misses(tools, pairs, 2)) <= 10
    assert len(misses(tools, pairs[1::2], 2)) <= 7  # those that the weights were not chosen on


def test_nested_and_odd_schemas_are_read() -> None:
    odd = {
        "type": "object",
        "properties": {
            "any": True,
            "deep": {"type": "array", "items": {"properties": {"zebra": {"enum": ["okapi", 3]}}}},
        },
    }
    tools = validate_tools([*TOOLS, {"name": "x", "parameters": json.loads(json.dumps(odd))}])
    for question in ("zebra", "okapi", "deep"):
        found = select_tools(tools, parse_messages(question), 1)
        assert [each["function"]["name"] for each in found] == ["x"]
