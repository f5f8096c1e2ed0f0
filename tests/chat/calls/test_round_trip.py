"""Any arguments, written in each family's form, are read as they were, however the text is cut."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cactus.chat.calls.syntax import SYNTAXES, Syntax
from tests.chat.calls.reading import comes_to, found_in

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        *('"', "'", "\\", "\\'", "it's", "a, b=c", ")]", "}", "\n", "</tool_call>", "<tool_call>"),
        *("{}", "']", "', x='", "'}", "<|tool_call_end|>", "True", "5", "null", "\U0001f389é"),
        *("<function=f>", "</parameter>", "```", "\x00\x1f", "\u2028"),
    ]
)
NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
ARGUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)


def schema_of(value: Any) -> dict[str, Any]:
    """What a tool whose argument this is would declare."""
    for kind, name in ((bool, "boolean"), (str, "string"), (int, "integer"), (float, "number")):
        if isinstance(value, kind):
            return {"type": name}
    if value is None:
        return {"type": "null"}
    if isinstance(value, list):
        return {"type": "array", "items": {}}
    return {"type": "object"}


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@settings(max_examples=40, deadline=None)
@given(st.lists(ARGUMENTS, min_size=1, max_size=3), st.data())
def test_arguments_come_back(syntax: Syntax, several: list[dict[str, Any]], data: Any) -> None:
    if syntax.form == "escaped" and "<escape>" in repr(several):
        return
    names = [f"tool{index}" for index in range(len(several))]
    tools = {
        name: {"properties": {key: schema_of(value) for key, value in arguments.items()}}
        for name, arguments in zip(names, several, strict=True)
    }
    calls = [{"name": f"tool{n}", "arguments": each} for n, each in enumerate(several)]
    answer = str(syntax.write(calls))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=8)))
    pieces = [answer[a:b] for a, b in pairwise([0, *cuts, len(answer)])]
    expected = list(zip(names, several, strict=True))
    text, found = comes_to(found_in(syntax, pieces, tools))
    assert (text, found) == ("", expected)
    assert repr(found) == repr(expected), "1 is not 1.0, and True is not 1"


SCRAPS = st.sampled_from(
    [
        *(
            "<tool_call>",
            "</tool_call>",
            "<|tool_call|>",
            "<|/tool_call|>",
            "functools[",
            "```json\n",
        ),
        *("<|tool_call_start|>", "<|tool_call_end|>", "<start_function_call>", "<escape>", "call:"),
        *("<end_function_call>", "<function=", "f>", "<parameter=", "k>", "</parameter>", "```"),
        *("</function>", "<code>", "</code>", "<|python_tag|>", '{"name": "f", ', '"arguments": '),
        *(
            '"parameters": ',
            "{",
            "}",
            "[",
            "]",
            "(",
            ")",
            ",",
            ":",
            "=",
            "'",
            '"',
            "\\",
            ";",
            "f",
            "k",
        ),
        *(" ", "\n", "1", "-", "true", "None", "text", "é", "<", "{}", "f(k=1)", '{"k": "x"}'),
        *('<tool_call>{"name": "f", "arguments": {}}', "[f()]", "call:f{k:1}"),
    ]
)


@pytest.mark.fault("F37")
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@settings(max_examples=80, deadline=None)
@given(st.lists(SCRAPS, max_size=14))
def test_nothing_that_a_model_may_write_is_an_error_or_depends_on_the_cut(
    syntax: Syntax, scraps: list[str]
) -> None:
    tools = {"f": {"properties": {"k": {}}}}
    answer = "".join(scraps)
    whole = comes_to(found_in(syntax, [answer], tools))
    assert comes_to(found_in(syntax, answer, tools)) == whole
    assert comes_to(found_in(syntax, scraps, tools)) == whole
    text, calls = whole
    if not calls:
        assert text == answer
