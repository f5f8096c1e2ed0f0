"""Tools, calls and their results in a prompt, whatever a template wants of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cactus.chat.messages import parse_messages, validate_tools
from cactus.chat.template import ChatTemplate
from cactus.engine.loaded import Loaded
from cactus.errors import TemplateError
from cactus.generate.options import Options
from cactus.generate.prompt import render
from tests.generate.scripted import saying, scripted_engine

TOOLS = [{"name": "get_weather", "description": "Weather"}, {"name": "now"}]


def called(*arguments: Any) -> list[dict[str, Any]]:
    """A question, calls with these arguments, and a result for each, the last one first."""
    calls: list[dict[str, Any]] = [
        {"id": f"call{n}", "type": "function", "function": {"name": f"f{n}", "arguments": each}}
        for n, each in enumerate(arguments)
    ]
    results: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": f"call{n}", "content": f"result {n}"}
        for n in reversed(range(len(arguments)))
    ]
    said: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": calls}
    return [{"role": "user", "content": "Hi"}, said, *results]


def prompt(engine: Loaded, messages: list[dict[str, Any]], **options: Any) -> str:
    """The text of the prompt."""
    return "".join(part.text for part in render(engine, messages, Options(**options)).parts)


def engine(template: str) -> Loaded:
    return scripted_engine(saying("Hi"), template=template)


KNOWS_CALLS = (
    "{% for m in messages %}{{ m.role }}:{{ m.content }}"
    "{% for c in m.tool_calls or [] %}"
    "<call>{{ c.function.name }} {{ c.function.arguments | tojson }}"
    "{% endfor %};{% endfor %}"
)
ONE_CALL = (
    "{% for m in messages %}{% if m.tool_calls %}"
    "{% if m.tool_calls | length != 1 %}{{ raise_exception('one call, please') }}{% endif %}"
    "a:{{ m.tool_calls[0].function.name }} {{ m.tool_calls[0].function.arguments | tojson }};"
    "{% else %}{{ m.role[0] }}:{{ m.content | trim }};{% endif %}{% endfor %}"
)


@pytest.mark.fault("F36")
@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ({"a": 1}, '{"a": 1}'),
        ('{"a": 1}', '{"a": 1}'),
        ("", '""'),
        ("{", '"{"'),
        ("not JSON", '"not JSON"'),
        ("[1]", '"[1]"'),
        (None, "{}"),
    ],
)
def test_arguments_of_any_kind_are_accepted(arguments: Any, shown: str) -> None:
    assert f"<call>f0 {shown};" in prompt(engine(KNOWS_CALLS), called(arguments))


@pytest.mark.fault("F36")
@pytest.mark.parametrize("arguments", ["{", "not JSON", {"a": 1}])
def test_a_template_that_walks_through_arguments_gets_an_object(arguments: Any) -> None:
    walks = (
        "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}"
        "{{ c.function.name }}({% for k, v in c.function.arguments.items() %}{{ k }}={{ v }}"
        "{% endfor %}){% endfor %}{% endfor %}"
    )
    expected = "f0(a=1)" if isinstance(arguments, dict) else f"f0(arguments={arguments})"
    assert expected in prompt(engine(walks), called(arguments))


def test_where_a_message_has_one_call_each_gets_its_own_with_its_result() -> None:
    shown = prompt(engine(ONE_CALL), called({"a": 1}, {"b": 2}))
    assert shown == 'u:Hi;a:f1 {"b": 2};t:result 1;a:f0 {"a": 1};t:result 0;'
    without = called({"a": 1}, {"b": 2})[:2]
    assert prompt(engine(ONE_CALL), without) == 'u:Hi;a:f0 {"a": 1};a:f1 {"b": 2};'


def test_the_name_of_a_tool_is_beside_its_result_where_a_template_needs_it() -> None:
    needs = (
        "{% for m in messages %}{% if m.role == 'tool' %}{% if not m.name %}"
        "{{ raise_exception('no name') }}{% endif %}{{ m.name }}={{ m.content }};"
        "{% else %}{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}"
        "{% endfor %}{% endif %}{% endfor %}"
    )
    shown = prompt(engine(needs), called({}, {}))
    assert shown.endswith("f1=result 1;f0=result 0;")


def test_calls_that_a_template_does_not_show_are_in_the_text() -> None:
    ignores = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    shown = prompt(engine(ignores), called({"a": "ü"}, "oops"))
    assert '<|assistant|><tool_call>{"name": "f0", "arguments": {"a": "ü"}}</tool_call>\n' in shown
    assert '<tool_call>{"name": "f1", "arguments": oops}</tool_call><|tool|>result 1' in shown


def test_calls_in_the_text_are_in_the_form_of_the_model() -> None:
    lfm2 = (
        "{% for t in tools or [] %}<|tool_list_start|>{{ t | tojson }}<|tool_list_end|>{% endfor %}"
        "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    )
    history = called({"a": "x", "b": [1, True]})
    history[1]["content"] = "I look."
    parts = render(engine(lfm2), history, Options(tools=TOOLS)).parts
    shown = "".join(part.text for part in parts)
    assert 'I look.\n<|tool_call_start|>[f0(a="x", b=[1, True])]<|tool_call_end|>' in shown
    markup = "".join(part.text for part in parts if part.special)
    assert "<|tool_call_start|>[" in markup and "f0" not in markup


def test_results_that_a_template_does_not_show_are_the_users() -> None:
    strict = (
        "{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}"
        "{{ raise_exception('users and assistants only') }}{% endif %}"
        "{{ m.role[0] }}:{{ m.content }};{% endfor %}"
    )
    drops = (
        "{% for m in messages %}{% if m.role != 'tool' %}{{ m.role[0] }}:{{ m.content }};"
        "{% endif %}{% endfor %}"
    )
    for template in (strict, drops):
        shown = prompt(engine(template), called({}, {}))
        assert shown.endswith(
            "u:<tool_response>\nresult 1\n</tool_response>\n"
            "<tool_response>\nresult 0\n</tool_response>;"
        )


def test_a_template_may_want_tools_wherever_there_are_calls() -> None:
    hermes = (
        "{% for t in tools %}{{ t.function.name }}{{ t.function.parameters.properties }}"
        "{% endfor %}" + KNOWS_CALLS
    )
    shown = prompt(engine(hermes), called({"a": 1}), tools=TOOLS)
    assert '<call>f0 {"a": 1};tool:result 0;' in shown


def test_without_a_place_for_a_system_message_tools_are_in_the_first_question() -> None:
    gemma = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}"
        "{% endif %}<{{ m.role }}>{{ m.content }};{% endfor %}"
    )
    shown = prompt(engine(gemma), [{"role": "user", "content": "Hi"}], tools=TOOLS)
    assert shown.startswith("<user>You can call functions.") and shown.endswith("\n\nHi;")
    with pytest.raises(TemplateError, match="no system"):
        prompt(engine(gemma), [{"role": "system", "content": "Hi"}], tools=TOOLS)


def test_tools_may_have_another_name_in_a_template() -> None:
    smollm3 = (
        "{% if xml_tools or python_tools %}<tools>{% for t in xml_tools %}{{ t | string }}\n"
        "{% endfor %}</tools>{% endif %}{% for m in messages %}{{ m.content }}{% endfor %}"
    )
    shown = prompt(engine(smollm3), [{"role": "user", "content": "Hi"}], tools=TOOLS)
    assert "'name': 'get_weather'" in shown and "'name': 'now'" in shown
    assert "You can call functions" not in shown


@pytest.mark.parametrize("system", [None, "Be brief."])
def test_tools_may_stand_in_the_system_message(system: str | None) -> None:
    phi = (
        "{% for m in messages %}{% if m['role'] == 'system' and 'tools' in m %}"
        "<|system|>{{ m['content'] }}<|tool|>{{ m['tools'] }}<|/tool|><|end|>"
        "{% else %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endif %}{% endfor %}"
    )
    first = [] if system is None else [{"role": "system", "content": system}]
    shown = prompt(engine(phi), [*first, {"role": "user", "content": "Hi"}], tools=TOOLS)
    assert shown.startswith(f"<|system|>{system or 'You are a helpful assistant with some tools.'}")
    listed = json.loads(shown.split("<|tool|>")[1].split("<|/tool|>")[0])
    assert listed == [tool["function"] for tool in validate_tools(TOOLS)]


def test_with_tool_choice_none_the_model_is_shown_no_tools() -> None:
    knows = "{% for t in tools or [] %}{{ t.function.name }}{% endfor %}{{ messages[0].content }}"
    hello = [{"role": "user", "content": "Hi"}]
    assert prompt(engine(knows), hello, tools=TOOLS) == "get_weathernowHi"
    assert prompt(engine(knows), hello, tools=TOOLS, tool_choice="none") == "Hi"
    assert render(engine(knows), hello, Options(tools=TOOLS, tool_choice="none")).tools == []


def test_what_a_template_shows_is_asked_of_it_once() -> None:
    template = ChatTemplate(KNOWS_CALLS)
    assert template.renders_calls and template.renders_results
    assert parse_messages(called("{"))[1].tool_calls[0]["function"]["arguments"] == "{"
