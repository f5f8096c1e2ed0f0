"""Questions with answers, as JSON lines, and whether an answer is right."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from cactus.errors import InvalidRequest
from cactus.inputs.checks import short
from cactus.inputs.files import read_text
from cactus.inputs.values import clean, parse_json

Judge = Literal["contains", "exact", "number"]
JUDGES: tuple[Judge, ...] = get_args(Judge)

MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Question:
    """What is asked, as ``Model.chat`` takes it, and what is right.

    `judge`: "contains": one of `answers` stands in the answer, as whole words; "exact": it is all
    of it, but for case, punctuation and English articles; "number": the last number is the same.
    """

    messages: list[dict[str, Any]]
    answers: tuple[str, ...]
    judge: Judge = "contains"

    def is_right(self, text: str) -> bool:
        """Whether `text` answers the question."""
        return any(_JUDGES[self.judge](text, answer) for answer in self.answers)


def read_questions(path: Path, judge: Judge) -> list[Question]:
    """The questions of a file: one JSON object a line.

    `question` (a text) or `messages`; `answer` or `answers`; and `judge`, where it is not the one
    given. Raises InvalidRequest naming the line and the field.
    """
    lines = read_text(path, MAX_BYTES).removeprefix("\ufeff").split("\n")
    return [
        _parse(parse_json(line, f"{path}: line {number}"), f"{path}: line {number}", judge)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def _parse(row: Any, where: str, judge: Judge) -> Question:
    if not isinstance(row, Mapping):
        raise InvalidRequest(f"{where}: expected a JSON object, got {type(row).__name__}")
    row = clean(row, where)
    asked = [name for name in ("question", "messages") if name in row]
    if len(asked) != 1:
        raise InvalidRequest(f"{where}: expected either question or messages")
    messages = row[asked[0]]
    if not isinstance(messages, str if asked == ["question"] else list) or not messages:
        kind = "a text" if asked == ["question"] else "a list of messages"
        raise InvalidRequest(f"{where}: {asked[0]} must be {kind}")
    answers = row.get("answers", [row["answer"]] if "answer" in row else [])
    if not isinstance(answers, list) or not answers:
        raise InvalidRequest(f"{where}: expected answer, or answers with at least one")
    judge = row.get("judge", judge)
    if judge not in JUDGES:
        raise InvalidRequest(f"{where}: judge must be one of {', '.join(JUDGES)}")
    texts = []
    for answer in answers:
        if isinstance(answer, bool) or not isinstance(answer, (str, int, float)):
            raise InvalidRequest(f"{where}: an answer must be a text or a number")
        texts.append(str(answer))
        if (last_number(str(answer)) if judge == "number" else _words(str(answer))) in (None, []):
            what = "number" if judge == "number" else "word"
            raise InvalidRequest(f"{where}: the answer {short(answer)} has no {what} in it")
    if asked == ["question"]:
        messages = [{"role": "user", "content": messages}]  # a text that is JSON stays a text
    return Question(messages, tuple(texts), judge)


def plain(text: str) -> str:
    """A text in small letters, without punctuation and English articles, its spaces single."""
    return " ".join(word for word in _words(text) if word not in _ARTICLES)


_ARTICLES = ("a", "an", "the")


def _words(text: str) -> list[str]:
    text = unicodedata.normalize("NFKC", text).casefold()
    return "".join(c for c in text if unicodedata.category(c)[0] not in "PS").split()


def _alike(text: str, answer: str) -> tuple[str, str]:
    """Both made plain; articles stay where the answer is nothing else, as the A of a choice."""
    if not plain(answer):
        return " ".join(_words(text)), " ".join(_words(answer))
    return plain(text), plain(answer)


_NUMBER = re.compile(r"[-−]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?")


def last_number(text: str) -> float | None:
    """The last number in a text: 1,234.5 is one; None where there is none."""
    found = _NUMBER.findall(unicodedata.normalize("NFKC", text))
    return float(found[-1].replace(",", "").replace("−", "-")) if found else None


def _contains(text: str, answer: str) -> bool:
    given, sought = _alike(text, answer)
    if not sought.isascii():  # many scripts do not separate words
        return sought in given
    return f" {sought} " in f" {given} "


def _exact(text: str, answer: str) -> bool:
    given, sought = _alike(text, answer)
    return given == sought


def _number(text: str, answer: str) -> bool:
    return last_number(text) is not None and last_number(text) == last_number(answer)


_JUDGES = {"contains": _contains, "exact": _exact, "number": _number}


def answers_right(questions: Sequence[Question], texts: Sequence[str]) -> list[bool]:
    """Of each question, whether its answer is right."""
    return [each.is_right(text) for each, text in zip(questions, texts, strict=True)]
