"""Which syntax a model has, from its template or its vocabulary."""

from __future__ import annotations

import pytest

from cactus.chat.calls.find import find_syntax
from cactus.chat.calls.syntax import (
    CODE,
    GEMMA,
    GRANITE,
    IN_WORDS,
    LFM2,
    LLAMA,
    PARAMETERS,
    PHI,
    TOOL_CALL,
    Syntax,
)
from cactus.chat.template import ChatTemplate
from tests.chat.calls.reading import read

TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"


def template(calls: str, end: str = "<|end|>\n") -> str:
    """A template that renders the calls of a message so, one after another."""
    each = "{% for c in m.tool_calls or [] %}" + calls + "{% endfor %}"
    return TURNS + each + end + "{% endfor %}"


@pytest.mark.parametrize(
    ("source", "vocabulary", "syntax"),
    [
        ("{% if tools %}<tool_call>{% endif %}", (), TOOL_CALL),
        ("{% if xml_tools %}<tool_call>{% endif %}{% if python_tools %}<code>", (), TOOL_CALL),
        ("{% if python_tools %}<code>{% endif %}", (), CODE),
        ("<tool_call>\n<function=f>\n<parameter=p>", (), PARAMETERS),
        ("Answer with <|tool_call|> and a list", (), GRANITE),
        ("Answer with <|tool_call|> and a list", ("<|/tool_call|>",), PHI),
        (TURNS, ("<|tool_call|>", "<|/tool_call|>"), PHI),
        (TURNS, ("<|tool_call|>",), GRANITE),
        ("<|tool_list_start|>", (), LFM2),
        (TURNS, ("<|tool_call_start|>", "<|tool_call_end|>"), LFM2),
        ("ipython {{ '\"parameters\": ' }}", (), LLAMA),
        ("<start_function_call>", (), GEMMA),
        (TURNS, GEMMA.markers, GEMMA),
        (TURNS, (), IN_WORDS),
    ],
)
def test_markup_tells_the_family(source: str, vocabulary: tuple[str, ...], syntax: Syntax) -> None:
    whole = source if source is TURNS else source + "{% if 0 %}{% for m in messages %}"
    made = ChatTemplate(
        whole + "{% endfor %}" + "{% endif %}" * (whole.count("{% if") - whole.count("{% endif"))
    )
    assert find_syntax(made, lambda text: text in vocabulary) is syntax


def test_without_a_template_the_vocabulary_tells() -> None:
    assert find_syntax(None, lambda text: text in LFM2.markers) is LFM2
    assert find_syntax(None, lambda text: False) is IN_WORDS


JSON_CALL = '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'


@pytest.mark.parametrize(
    ("source", "begin", "between", "end"),
    [
        (template(f"[[CALL]]{JSON_CALL}[[END]]"), "[[CALL]]", "[[END]][[CALL]]", "[[END]]"),
        (template(f"[CALLS]{JSON_CALL}"), "[CALLS]", "[CALLS]", ""),
        (template(f"\n{JSON_CALL}"), "", "\n", ""),
        (
            template("<|call|>{{ c.function.name }}(a{{ c.function.arguments }})"),
            *("<tool_call>", "</tool_call>\n<tool_call>", "</tool_call>"),
        ),
        (
            TURNS
            + "{% if m.tool_calls %}[CALLS][{% for c in m.tool_calls %}"
            + JSON_CALL
            + "{{ ', ' if not loop.last }}{% endfor %}]{% endif %}</s>{% endfor %}",
            *("[CALLS][", ", ", "]"),
        ),
        (
            template(
                "<f>{{ c.function.name }}(cactus_key='{{ c.function.arguments.cactus_key }}')</f>"
            ),
            *("<f>", "</f><f>", "</f>"),
        ),
    ],
)
def test_an_unknown_template_is_made_to_render_a_call(
    source: str, begin: str, between: str, end: str
) -> None:
    found = find_syntax(ChatTemplate(source), lambda text: False)
    assert (found.begin, found.between, found.end) == (begin, between, end)
    calls = [
        {"name": "get_weather", "arguments": {"location": "Köln"}},
        {"name": "now", "arguments": {}},
    ]
    expected = [(call["name"], call["arguments"]) for call in calls]
    assert read(found, str(found.write(calls))) == ("", expected)


def test_a_template_that_refuses_calls_has_none() -> None:
    refuse = "{% if m.tool_calls %}{{ raise_exception('no') }}{% endif %}"
    source = f"{{% for m in messages %}}{refuse}{{% endfor %}}"
    assert find_syntax(ChatTemplate(source), lambda text: False) is IN_WORDS
