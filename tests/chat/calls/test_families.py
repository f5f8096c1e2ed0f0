"""Each family's calls, written as its models write them, with all that these do differently."""

from __future__ import annotations

from typing import Any

import pytest

from cactus.chat.calls.syntax import (
    CODE,
    GEMMA,
    GRANITE,
    IN_WORDS,
    LFM2,
    LLAMA,
    PARAMETERS,
    PHI,
    SYNTAXES,
    TOOL_CALL,
    Syntax,
)
from tests.chat.calls.reading import read

PARIS = ("get_weather", {"location": "Paris"})
CALL = '{"name": "get_weather", "arguments": {"location": "Paris"}}'
PLACE = '{"location": "Paris"}'
OTHER = '{"name": "now", "arguments": {}}'
GEMMA_CALL = "<start_function_call>call:get_weather{location:<escape>Paris<escape>}"
FUNCTION = "<function=get_weather>\n<parameter=location>\nParis\n</parameter>\n</function>"


def lfm2(call: str) -> str:
    return f"<|tool_call_start|>[{call}]<|tool_call_end|>"


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_what_a_family_writes_is_read_again(syntax: Syntax) -> None:
    calls = [
        {"name": "get_weather", "arguments": {"location": "Köln", "days": -2}},
        {"name": "now", "arguments": {}},
    ]
    expected = [(call["name"], call["arguments"]) for call in calls]
    written = str(syntax.write(calls))
    assert read(syntax, written) == ("", expected)
    if syntax is not LLAMA:
        assert read(syntax, f"I look.\n{written}\nDone.") == ("I look.\nDone.", expected)


@pytest.mark.parametrize(
    ("syntax", "answer"),
    [
        (TOOL_CALL, f"<tool_call>\n{CALL}\n</tool_call>"),
        (TOOL_CALL, f"<tool_call>{CALL}</tool_call>"),
        (TOOL_CALL, f"<tool_call>\n[{CALL}]\n</tool_call>"),
        (TOOL_CALL, f"<tool_call>\n{CALL}"),  # the model ended its turn there
        (TOOL_CALL, f"<tool_call>\n{CALL}\n</tool_c"),
        (TOOL_CALL, f"<tool_call>\n{CALL}}}\n</tool_call>"),
        (TOOL_CALL, CALL),
        (TOOL_CALL, f"```json\n{CALL}\n```"),
        (TOOL_CALL, f"```\n{CALL}\n```"),
        (TOOL_CALL, f"<tools>\n{CALL}\n</tools>"),
        (TOOL_CALL, f"<function_call>{CALL}</function_call>"),
        (TOOL_CALL, FUNCTION.join(("<tool_call>\n", "\n</tool_call>"))),
        (TOOL_CALL, '<tool_call>{"arguments": {"location": "Paris"}, "name": "get_weather"}'),
        (TOOL_CALL, f'<tool_call>{{"type": "function", "function": {CALL}}}</tool_call>'),
        (
            TOOL_CALL,
            '<tool_call>{"name": "get_weather", "arguments": "{\\"location\\": \\"Paris\\"}"}',
        ),
        (IN_WORDS, f"<tool_call>{CALL}</tool_call>"),
        (PARAMETERS, FUNCTION.join(("<tool_call>\n", "\n</tool_call>"))),
        (PARAMETERS, FUNCTION),
        (PARAMETERS, '<function=get_weather>{"location": "Paris"}</function>'),
        (LLAMA, CALL.replace("arguments", "parameters")),
        (LLAMA, CALL),
        (LLAMA, "<|python_tag|>" + CALL.replace("arguments", "parameters")),
        (LLAMA, '{"type": "function", "name": "get_weather", "parameters": {"location": "Paris"}}'),
        (GRANITE, f"<|tool_call|>[{CALL}]"),
        (GRANITE, f"<tool_call>[{CALL}]"),  # Granite 3.1
        (GRANITE, f"<|tool_call|>{CALL}"),
        (PHI, f"<|tool_call|>[{CALL}]<|/tool_call|>"),
        (PHI, f"<|tool_call|>{CALL}<|/tool_call|>"),
        (PHI, f"functools[{CALL}]"),
        (LFM2, lfm2('get_weather(location="Paris")')),
        (LFM2, lfm2("get_weather(location='Paris')")),
        (LFM2, lfm2("get_weather('Paris')")),
        (LFM2, "<|tool_call_start|> [get_weather(location='Paris')]"),
        (LFM2, "[get_weather(location='Paris')]"),
        (CODE, '<code>\nget_weather(location="Paris")\n</code>'),
        (GEMMA, f"{GEMMA_CALL}<end_function_call>"),
        (GEMMA, GEMMA_CALL),
        (GEMMA, "<start_function_call>call:get_weather{location:Paris}<end_function_call>"),
    ],
)
def test_the_forms_of_one_call(syntax: Syntax, answer: str) -> None:
    assert read(syntax, answer) == ("", [PARIS])


@pytest.mark.parametrize(
    ("syntax", "answer"),
    [
        (TOOL_CALL, f"<tool_call>\n{CALL}\n</tool_call>\n<tool_call>\n{OTHER}\n</tool_call>"),
        (TOOL_CALL, f"<tool_call>\n{CALL}\n{OTHER}\n</tool_call>"),
        (TOOL_CALL, f"<tool_call>\n{CALL}\n<tool_call>\n{OTHER}\n</tool_call>"),
        (TOOL_CALL, f"```json\n{CALL}\n```\n```json\n{OTHER}\n```"),
        (TOOL_CALL, f"[{CALL}, {OTHER}]"),
        (LLAMA, f"{CALL}; {OTHER}".replace("arguments", "parameters")),
        (LLAMA, f"{CALL}\n{OTHER}".replace("arguments", "parameters")),
        (GRANITE, f"<|tool_call|>[{CALL}, {OTHER}]"),
        (PHI, f"<|tool_call|>[{CALL},{OTHER}]<|/tool_call|>"),
        (LFM2, lfm2('get_weather(location="Paris"), now()')),
        (LFM2, lfm2('get_weather(location="Paris")') + lfm2("now()")),
        (CODE, '<code>\nget_weather("Paris")\nnow()\n</code>'),
        (
            GEMMA,
            f"{GEMMA_CALL}<end_function_call><start_function_call>call:now{{}}<end_function_call>",
        ),
        (PARAMETERS, f"<tool_call>\n{FUNCTION}\n<function=now>\n</function>\n</tool_call>"),
    ],
)
def test_several_calls_in_one_answer(syntax: Syntax, answer: str) -> None:
    assert read(syntax, answer) == ("", [PARIS, ("now", {})])


CODE_TEXT = "plt.plot(x, 'red', label='sin')\nplt.show()"
VALUES: list[tuple[str, Any]] = [
    ('"x"', "x"),
    ("'x'", "x"),
    ("'it's'", "it's"),
    ("'it\\'s'", "it's"),
    ('"say \\"hi\\""', 'say "hi"'),
    ("'grep -F \"]\" log.txt'", 'grep -F "]" log.txt'),
    ("'a, b', x=2", "a, b"),
    ("'a\nb'", "a\nb"),
    ("'a\\nb'", "a\nb"),
    ("'pattern \\'", "pattern \\"),
    ("'<|tool_call_end|>'", "<|tool_call_end|>"),
    (
        "'plt.plot(x, 'red', label='sin')\nplt.show()'",
        "plt.plot(x, 'red', label='sin')\nplt.show()",
    ),
    ('"""a\n"b"\n"""', 'a\n"b"\n'),
    ("''", ""),
    ("'\\u00e9\\x41\\q'", "éA\\q"),
    ("true", True),
    ("False", False),
    ("null", None),
    ("None", None),
    ("-1", -1),
    ("-74.0046539", -74.0046539),
    ("1e3", 1000.0),
    ("1_000", 1000),
    ("(800, 600)", [800, 600]),
    ("[]", []),
    ("['a', [1, {'b': True}]]", ["a", [1, {"b": True}]]),
    ("{'a': 1, \"b\": 'it's'}", {"a": 1, "b": "it's"}),
    ("{1: 'a'}", {"1": "a"}),
]


@pytest.mark.parametrize(("written", "value"), VALUES)
def test_values_that_look_like_python(written: str, value: Any) -> None:
    _, calls = read(LFM2, lfm2(f"write(content={written})"))
    assert calls[0][1]["content"] == value and type(calls[0][1]["content"]) is type(value)
    _, calls = read(LFM2, lfm2(f"now(), write(content={written}), now()"))
    assert calls[1][1]["content"] == value


def test_a_parameter_may_be_a_word_of_python_and_a_name_have_dots() -> None:
    assert read(LFM2, lfm2("memory.get(from=1)")) == ("", [("memory.get", {"from": 1})])


def test_an_echo_of_the_calls_behind_their_markup_is_no_text() -> None:
    call = 'get_weather(location="Paris")'
    assert read(LFM2, f"{lfm2(call)}[{call}]") == ("", [PARIS])
    assert read(LFM2, f"{lfm2(call)}\nChecking [it].") == ("Checking [it].", [PARIS])


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("<escape>a}b,c:{<escape>", "a}b,c:{"),
        ("<escape><escape>", ""),
        ('<escape>it\'s "x"\n<escape>', 'it\'s "x"\n'),
        ("5", 5),
        ("-2.5", -2.5),
        ("true", True),
        ("None", None),
        ("{a:[1,2],b:<escape>x<escape>}", {"a": [1, 2], "b": "x"}),
        ("{<escape>odd key<escape>:{}}", {"odd key": {}}),
        ("[]", []),
        ("[<escape>a,b<escape>,{c:null}]", ["a,b", {"c": None}]),
    ],
)
def test_functiongemmas_values(written: str, value: Any) -> None:
    answer = f"<start_function_call>call:write{{x:{written},content:5}}<end_function_call>"
    assert read(GEMMA, answer) == ("", [("write", {"x": value, "content": "5"})])


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("5", {"type": "string"}, "5"),
        ("5", {"type": "integer"}, 5),
        ("5", {"type": ["string", "null"]}, "5"),
        ("null", {"type": ["string", "null"]}, None),
        ("5.5", {"anyOf": [{"type": "number"}, {"type": "null"}]}, 5.5),
        ("True", {"type": "boolean"}, True),
        ("5", {"$ref": "#/$defs/n"}, 5),
        ("a", {"enum": ["a", "b"]}, "a"),
        ("[1, 2]", {"type": "array"}, [1, 2]),
        ("abc", {"type": "integer"}, "abc"),
        ("a\n</parameter>\nb", {"type": "string"}, "a\n</parameter>\nb"),
        ("\n  indented\n", {"type": "string"}, "\n  indented\n"),
        ("</tool_call>", {}, "</tool_call>"),
        ("5", {}, 5),
    ],
)
def test_parameters_have_the_types_of_their_schemas(text: str, schema: Any, value: Any) -> None:
    tools = {"f": {"properties": {"k": schema}, "$defs": {"n": {"type": "integer"}}}}
    answer = f"<tool_call>\n<function=f>\n<parameter=k>\n{text}\n</parameter>\n</function>"
    assert read(PARAMETERS, f"{answer}\n</tool_call>", tools) == ("", [("f", {"k": value})])


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ('{"content": "</tool_call>"}', {"content": "</tool_call>"}),
        ('{"content": "}}]"}', {"content": "}}]"}),
        (
            '{"content": "<tool_call>{\\"name\\": \\"now\\"}"}',
            {"content": '<tool_call>{"name": "now"}'},
        ),
        ('{"content": "a\nb\tc"}', {"content": "a\nb\tc"}),
        ('{"content": "\\ud83c\\udf89\\u00e9\\/"}', {"content": "🎉é/"}),
        ('{"content": "\\ud83c x"}', {"content": "\ufffd x"}),
        ('{ "x":[ 1 ,2.50,{"a":null} ] , "y":{ } }', {"x": [1, 2.5, {"a": None}], "y": {}}),
        ('{"x": {"a": {"b": "1"}}}', {"x": {"a": {"b": "1"}}}),
        ("null", {}),
        ("{}", {}),
        ('""', {}),
    ],
)
def test_arguments_in_json_keep_their_types(arguments: str, value: Any) -> None:
    answer = f'<tool_call>{{"name": "write", "arguments": {arguments}}}</tool_call>'
    assert read(TOOL_CALL, answer) == ("", [("write", value)])


def test_a_call_without_arguments_has_none() -> None:
    assert read(TOOL_CALL, '<tool_call>{"name": "now"}</tool_call>') == ("", [("now", {})])
    assert read(LFM2, lfm2("now()")) == ("", [("now", {})])
    assert read(GEMMA, "<start_function_call>call:now{}") == ("", [("now", {})])
