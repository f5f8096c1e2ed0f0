from __future__ import annotations

import json
import math

import pytest

from cactus.confidence.scores import FORCED, Token, margin, only_values, score


def tokens(*logprobs: float) -> list[Token]:
    return [Token(each, 0.5, 0.9) for each in logprobs]


def test_scores_are_of_the_content_alone() -> None:
    answer = [
        Token(-9.0, 0.0, 0.1, content=False),  # thought
        Token(-0.2, 0.6, 0.9),
        FORCED,
        Token(-0.4, 0.2, 0.8),
    ]
    found = score(answer, entropy=0.7)
    assert found is not None
    assert (found.content_tokens, found.logprob_min, found.margin_min) == (2, -0.4, 0.2)
    assert found.logprob_mean == pytest.approx(-0.3)
    assert found.margin_mean == pytest.approx(0.4)
    assert found.entropy == 0.7 and found.agreement is None and found.self_check is None


def test_an_answer_without_content_has_no_scores() -> None:
    assert score([], 0.9) is None
    assert score([FORCED, Token(-1.0, 0.1, 0.5, content=False)], 0.9) is None


@pytest.mark.parametrize("count", [1, 2, 10, 11, 37])
def test_the_quantile_is_that_of_numpy(count: int) -> None:
    import numpy as np

    values = [-((n * 7919) % 101) / 17 for n in range(count)]
    found = score(tokens(*values), 1.0)
    assert found is not None
    assert found.logprob_p10 == pytest.approx(np.quantile(values, 0.1), rel=1e-12)


def test_the_window_is_the_worst_ten_in_a_row() -> None:
    values = [-0.1] * 5 + [-3.0] + [-0.1] * 20 + [-1.0] * 10 + [-0.1] * 3
    found = score(tokens(*values), 1.0)
    assert found is not None and found.logprob_window == pytest.approx(-1.0)


def test_the_margin_is_of_probabilities() -> None:
    assert margin([(3, math.log(0.6)), (9, math.log(0.25))]) == pytest.approx(0.35)
    assert margin([(3, -0.1)]) == 1.0, "a vocabulary of one token"


CALL = {"name": "get_weather", "arguments": {"city": "Köln", "days": 3, "units": {"celsius": True}}}


def marked(written: str, calls: list[dict[str, object]], size: int = 1) -> str:
    """`written` in pieces of `size` bytes, with those bytes alone that count as content."""
    data = written.encode()
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    kept = only_values(tokens(*[-1.0] * len(pieces)), pieces, calls)
    return b"".join(
        piece for token, piece in zip(kept, pieces, strict=True) if token.content
    ).decode("utf-8", "replace")


@pytest.mark.parametrize(
    "written",
    [
        "<tool_call>\n" + json.dumps(CALL, ensure_ascii=False) + "\n</tool_call>",
        "<tool_call>\n" + json.dumps(CALL) + "\n</tool_call>",
        "[get_weather(city='Köln', days=3, units={'celsius': True})]",
        "call:get_weather{city:<escape>Köln<escape>,days:3,units:{celsius:true}}",
    ],
)
def test_of_a_call_names_and_values_count_in_any_syntax(written: str) -> None:
    said = marked(written, [CALL])
    assert said in ("get_weatherKöln3true", "get_weatherK\\u00f6ln3true", "get_weatherKöln3True")


def test_a_token_counts_that_spells_a_part_of_a_value() -> None:
    written = '{"name": "go", "arguments": {"to": "north"}}'
    assert "north" in marked(written, [{"name": "go", "arguments": {"to": "north"}}], size=4)


def test_two_calls_are_looked_for_one_after_another() -> None:
    calls = [{"name": "f", "arguments": {"n": n}} for n in (1, 2)]
    written = "".join(f"<call>{json.dumps(call)}</call>" for call in calls)
    assert marked(written, calls) == "f1f2" or marked(written, calls).endswith("12")


def test_values_that_are_not_found_leave_the_tokens_as_they_were() -> None:
    given = tokens(-1.0, -2.0)
    assert only_values(given, [b"a", b"b"], [{"name": "other", "arguments": {}}]) == given
