"""Text and calls: what stands around calls, what is broken, and what comes while it streams."""

from __future__ import annotations

import pytest

from cactus.chat.calls.parser import Found
from cactus.chat.calls.syntax import (
    CODE,
    GEMMA,
    GRANITE,
    LFM2,
    LLAMA,
    PARAMETERS,
    PHI,
    SYNTAXES,
    TOOL_CALL,
    Syntax,
)
from tests.chat.calls.reading import comes_to, found_in, read

CALL = '{"name": "get_weather", "arguments": {"location": "Paris"}}'
TAGGED = f"<tool_call>\n{CALL}\n</tool_call>"
PARIS = ("get_weather", {"location": "Paris"})
GEMMA_CALL = "<start_function_call>call:"

BROKEN = [
    (TOOL_CALL, "<tool_call>"),
    (TOOL_CALL, "<tool_call></tool_call>"),
    (TOOL_CALL, "<tool_call>\nget_weather Paris\n</tool_call>"),
    (TOOL_CALL, '<tool_call>\n{"name": "get_weather", "arguments": {"location": "Par'),
    (TOOL_CALL, '<tool_call>\n{"name": "get_weather", "arguments": {"location": "Paris"}'),
    (TOOL_CALL, '<tool_call>{"name": "get_weather", "arguments": {"location": Paris}}</tool_call>'),
    (TOOL_CALL, "<tool_call>{'name': 'get_weather', 'arguments': {}}</tool_call>"),
    (TOOL_CALL, '<tool_call>{"name": "get_weather" "arguments": {}}</tool_call>'),
    (TOOL_CALL, '<tool_call>{"name": "get_weather", "arguments": [1]}</tool_call>'),
    (TOOL_CALL, '<tool_call>{"name": "get_weather", "arguments": "Paris"}</tool_call>'),
    (TOOL_CALL, '<tool_call>{"name": 5, "arguments": {}}</tool_call>'),
    (TOOL_CALL, '<tool_call>{"arguments": {"location": "Paris"}}</tool_call>'),
    (TOOL_CALL, '<tool_call>{"name": "launch", "arguments": {"at": "</tool_call>"}}</tool_call>'),
    (TOOL_CALL, '<tool_call>{"name": "write", "arguments": {"x": 1, "x": 2}}</tool_call>'),
    (TOOL_CALL, '<tool_call>{"name": "write", "arguments": {"x": NaN}}</tool_call>'),
    (TOOL_CALL, '<tool_call>{"name": "write", "arguments": {"x": 1e999}}</tool_call>'),
    (TOOL_CALL, '<tool_call>{"name": "write", "arguments": {"x": 01}}</tool_call>'),
    (TOOL_CALL, '<tool_call>{"name": "write", "arguments": {"x": "\\q"}}</tool_call>'),
    (TOOL_CALL, f'<tool_call>{{"name": "write", "arguments": {{"x": {"[" * 99}'),
    (TOOL_CALL, f'<tool_call>{{"name": "write", "arguments": {{"x": 1{"0" * 5000}}}}}'),
    (TOOL_CALL, f"Write {TAGGED[:-40]}"),
    (TOOL_CALL, "</tool_call>"),
    (LLAMA, '{"name": "get_weather", "description": "Weather", "parameters": {}}'),
    (LLAMA, '{"name": "get_weather", "parameters": {"location": "Paris"'),
    (LLAMA, '{"answer": 42}'),
    (GRANITE, "<|tool_call|>[]"),
    (GRANITE, '<|tool_call|>[{"name": "get_weather"'),
    (PHI, "functools[1, 2]"),
    (PHI, f"<|tool_call|>[{CALL[:-1]}]<|/tool_call|>"),
    (LFM2, "<|tool_call_start|>[get_weather(location=Paris)]<|tool_call_end|>"),
    (LFM2, "<|tool_call_start|>[get_weather(location='Paris'"),
    (LFM2, "<|tool_call_start|>[get_weather(]<|tool_call_end|>"),
    (LFM2, "<|tool_call_start|>[get_weather(a=1, a=2)]<|tool_call_end|>"),
    (LFM2, "<|tool_call_start|>[now(1)]<|tool_call_end|>"),
    (LFM2, "<|tool_call_start|>[__import__('os').system('ls')]<|tool_call_end|>"),
    (LFM2, "<|tool_call_start|>[write(content=1e999)]<|tool_call_end|>"),
    (LFM2, "[1, 2, 3]"),
    (CODE, "<code>\nimport os\n</code>"),
    (PARAMETERS, "<tool_call>\n<function=get_weather>\n<parameter=location>\nParis"),
    (PARAMETERS, "<tool_call>\n<function=launch>\n</function>\n</tool_call>"),
    (PARAMETERS, "<function=get_weather>\nParis\n</function>"),
    (GEMMA, GEMMA_CALL + "get_weather{location:<escape>Par"),
    (GEMMA, GEMMA_CALL + "get_weather{location:}<end_function_call>"),
    (GEMMA, GEMMA_CALL + "launch{}<end_function_call>"),
    (GEMMA, "<start_function_call>get_weather{}<end_function_call>"),
]


@pytest.mark.fault("F37")
@pytest.mark.parametrize(("syntax", "answer"), BROKEN)
def test_what_is_no_whole_call_of_a_declared_tool_stays_text(syntax: Syntax, answer: str) -> None:
    assert read(syntax, answer) == (answer, [])
    if not answer.startswith("{"):
        said = f"Well: {answer} …\n\n"
        assert read(syntax, said) == (said, [])


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Hello",
        "  two\n\nlines \n",
        "a <tool_cal b < c",
        "<tool",
        "<tools> are listed here </tools>",
        "<tools>[]</tools>",
        "```json\n[1, 2]\n```\n",
        "```python\nprint(1)\n```",
        '{"location": "Paris"}',
        "[]",
        f"Write it like this:\n```json\n{CALL}\n```\n",
        f"It is {CALL}",
        "``` ",
        "`x`",
    ],
)
def test_ordinary_text_is_not_touched(answer: str) -> None:
    for syntax in SYNTAXES:
        assert read(syntax, answer) == (answer, [])


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (f"I look.\n{TAGGED}", "I look."),
        (f"\n{TAGGED}\n", ""),
        (f"I look.\n\n{TAGGED}\nDone.\n", "I look.\n\nDone.\n"),
        (f"I look.{TAGGED}\nDone.", "I look.\nDone."),
        (f"{TAGGED}\n{TAGGED}\nDone.", "Done."),
        (f"A {TAGGED} {TAGGED} B", "A B"),
        (f"{TAGGED} or {TAGGED}", "or"),
    ],
)
def test_white_space_between_text_and_calls_is_of_neither(answer: str, text: str) -> None:
    said, calls = read(TOOL_CALL, answer)
    assert said == text
    assert calls == [PARIS] * answer.count("<tool_call>")


def test_a_whole_call_behind_a_broken_one_counts() -> None:
    broken = '<tool_call>\n{"name": "get_weather", "arguments": {"location": '
    assert read(TOOL_CALL, f"{broken}\n{TAGGED}") == (broken.rstrip(), [PARIS])
    unknown = '<tool_call>\n{"name": "launch", "arguments": {}}\n</tool_call>'
    assert read(TOOL_CALL, f"{unknown}\n{TAGGED}") == (unknown, [PARIS])


@pytest.mark.fault("F37")
def test_calls_inside_the_arguments_of_what_is_no_call_are_none() -> None:
    inner = "<tool_call>\n<function=now>\n</function>\n</tool_call>"
    unknown = f"<tool_call>\n<function=launch>\n<parameter=x>\n{inner}\n</parameter>\n</function>"
    assert read(PARAMETERS, f"{unknown}\n</tool_call>") == (f"{unknown}\n</tool_call>", [])
    cut = f"<tool_call>\n<function=write>\n<parameter=content>\n{inner}"
    assert read(PARAMETERS, cut) == (cut, [])


def test_a_declared_tool_among_others_in_a_list_is_called() -> None:
    answer = '<|tool_call_start|>[launch(at="x"), now()]<|tool_call_end|>'
    assert read(LFM2, answer) == ('<|tool_call_start|>[launch(at="x")', [("now", {})])


def test_the_name_and_each_piece_are_told_as_they_come() -> None:
    seen = []
    for piece in found_in(TOOL_CALL, TAGGED):
        assert piece.kind in ("begin", "piece", "end")
        seen.append(piece)
    assert seen[0] == Found("begin", "get_weather")
    pieces = [found.text for found in seen[1:-1]]
    assert len(pieces) > 10 and "".join(pieces) == '{"location": "Paris"}'
    assert seen[-1].kind == "end"


def test_a_call_ends_with_its_last_brace() -> None:
    cut = TAGGED.index("\n</tool_call>")
    found = found_in(TOOL_CALL, [TAGGED[:cut]])
    assert found[-1].kind == "end"


@pytest.mark.fault("F37")
def test_a_call_that_breaks_is_taken_back_and_comes_as_text() -> None:
    answer = '<tool_call>{"name": "get_weather", "arguments": {"location": oops'
    kinds = [found.kind for found in found_in(TOOL_CALL, [answer])]
    assert kinds == ["begin", "piece", "piece", "piece", "piece", "piece", "drop", "text", "text"]


@pytest.mark.fault("F37")
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_every_beginning_of_an_answer_is_text_or_a_call_and_nothing_is_lost(
    syntax: Syntax,
) -> None:
    call = {"name": "write", "arguments": {"content": 'a "b" \\ }]\n<x>', "x": [1, {"y": None}]}}
    other = {"name": "get_weather", "arguments": {"location": "It's"}}
    answer = str(syntax.write([call, other]))
    ends = [0, 0, 0]
    for size in range(len(answer) + 1):
        text, calls = read(syntax, answer[:size])
        assert (
            calls
            == [("write", call["arguments"]), ("get_weather", other["arguments"])][: len(calls)]
        )
        assert text in answer or not calls
        if not calls:
            assert text == answer[:size]
        ends[len(calls)] = size
    assert ends[0] < ends[1] < ends[2] == len(answer)


@pytest.mark.fault("F37")
def test_a_long_answer_is_read_in_a_time_that_grows_with_its_length() -> None:
    """Each character is looked at a bounded number of times, however the text was meant to fool."""
    import cactus.chat.calls.source as source

    counted = 0
    look = source.Source.look

    def counting(self: source.Source, offset: int = 0) -> source.Steps[str]:
        nonlocal counted
        counted += 1
        return (yield from look(self, offset))

    answers = [
        "<tool_call>" * 2000,
        '<tool_call>{"name": "write", "arguments": {"content": "' + "<tool_call>{" * 2000,
        "<tool_call>\n<function=write>\n<parameter=x>\n" + "</parameter>\n" * 2000,
        "<|tool_call_start|>[write(content='" + "it's " * 4000,
    ]
    syntaxes = (TOOL_CALL, TOOL_CALL, PARAMETERS, LFM2)
    source.Source.look = counting  # type: ignore[method-assign]
    try:
        for answer, syntax in zip(answers, syntaxes, strict=True):
            counted = 0
            comes_to(found_in(syntax, answer))
            assert counted < 30 * len(answer)
    finally:
        source.Source.look = look  # type: ignore[method-assign]
