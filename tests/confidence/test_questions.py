from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cactus.confidence.questions import Question, last_number, plain, read_questions
from cactus.errors import InvalidRequest


def write(path: Path, *rows: Any) -> Path:
    path.write_text(
        "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), "utf-8"
    )
    return path


def is_right(judge: Any, answer: str, said: str) -> bool:
    return Question([], (answer,), judge).is_right(said)


@pytest.mark.parametrize(
    ("judge", "answer", "said", "right"),
    [
        ("contains", "Paris", "The capital is **Paris**.", True),
        ("contains", "Paris", "Comparison", False),
        ("contains", "the Eiffel Tower", "An Eiffel tower!", True),
        ("contains", "€ 5", "It costs 5 euros", True),
        ("contains", "北京", "首都是北京市。", True),
        ("contains", "Ünïted", "the ÜNÏTED one", True),
        ("contains", "A", "The answer is (A).", True),
        ("contains", "A", "The answer is (B).", False),
        ("exact", "A", "A.", True),
        ("exact", "Paris", "paris.", True),
        ("exact", "Paris", "It is Paris.", False),
        ("number", "#### 1,234", "First 7, then $1234.00", True),
        ("number", "18", "She makes 18 dollars, 2 a day", False),
        ("number", "-3", "minus: −3", True),
        ("number", "3", "none", False),
        ("number", "0.5", "It is 0.50.", True),
    ],
)
def test_when_an_answer_is_right(judge: Any, answer: str, said: str, right: bool) -> None:
    assert is_right(judge, answer, said) is right


@pytest.mark.parametrize(
    ("text", "number"),
    [("1,234,567.5 km", 1234567.5), ("12,34", 34), ("a-5", -5), ("", None), ("3.", 3), ("x²", 2)],
)
def test_the_last_number_of_a_text(text: str, number: float | None) -> None:
    assert last_number(text) == number


def test_a_choice_and_a_mark_at_the_beginning_of_a_file_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "choices.jsonl", "\ufeff" + json.dumps({"question": "?", "answer": "A"})
    )
    assert read_questions(path, "contains")[0].answers == ("A",)


def test_a_text_is_compared_without_what_does_not_matter() -> None:
    assert plain("  The “Big”, a\tApple! ") == "big apple"


def test_questions_are_read_line_by_line(tmp_path: Path) -> None:
    talk = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "2+2?"}]
    path = write(
        tmp_path / "q.jsonl",
        {"question": "Capital of France?", "answer": "Paris"},
        "",
        {"messages": talk, "answers": [4, "four"], "judge": "exact"},
        {"question": '[{"role": "user"}]', "answer": "x"},
    )
    first, second, third = read_questions(path, "contains")
    assert first == Question(
        [{"role": "user", "content": "Capital of France?"}], ("Paris",), "contains"
    )
    assert second == Question(talk, ("4", "four"), "exact")
    assert third.messages[0]["content"] == '[{"role": "user"}]', "a text stays a text"
    assert second.is_right("Four!") and not second.is_right("5")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("{", "valid JSON"),
        ("[]", "expected a JSON object"),
        ({"answer": "x"}, "either question or messages"),
        ({"question": "q", "messages": [], "answer": "x"}, "either question or messages"),
        ({"question": "", "answer": "x"}, "question must be a text"),
        ({"messages": "q", "answer": "x"}, "messages must be a list"),
        ({"question": "q"}, "expected answer"),
        ({"question": "q", "answers": []}, "expected answer"),
        ({"question": "q", "answer": None}, "must be a text or a number"),
        ({"question": "q", "answer": "!"}, "has no word"),
        ({"question": "q", "answer": "many", "judge": "number"}, "has no number"),
        ({"question": "q", "answer": "x", "judge": "taste"}, "judge must be one of"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: Any, said: str) -> None:
    path = write(tmp_path / "q.jsonl", {"question": "q", "answer": "x"}, row)
    with pytest.raises(InvalidRequest, match="line 2") as caught:
        read_questions(path, "contains")
    assert said in str(caught.value)
