"""Which of many tools a model is shown: those that the last questions of the user are about.

Names, descriptions and parameters are ranked against what was asked. What decides can be read from
the messages alone, so that the same conversation always shows the same tools.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from cactus.chat.messages import Message
from cactus.chat.ranking import MOST, Ranking, question_features

TURNS = 3
"""The last questions that are looked at: "and tomorrow?" is about what was asked before."""
FADING = 0.3
"""What a word of the question before counts, of one in the last."""
LONGEST = 4_000
"""Characters of a question that are looked at, half from each end: texts are pasted, too."""

NAME, DESCRIPTION, PARAMETER, DETAIL = 2.0, 1.0, 0.4, 0.5
"""What a word counts in a tool's name, its description, a parameter's name and description."""


def select_tools(
    tools: list[dict[str, Any]],
    conversation: Sequence[Message],
    count: int,
    named: str | None = None,
) -> list[dict[str, Any]]:
    """The `count` tools that fit best, in the order of `tools`; all of them where `count` is 0.

    Tools that the conversation has called stay, and so does the one that is ``named``. Tools stand
    at the beginning of a prompt, and other ones make a model read all of it again: so they change
    only where the best one for a new question is not among them.
    """
    if not 0 < count < len(tools):
        return tools
    ranking = _ranking(json.dumps(tools))
    kept = list(range(count))
    asked: list[str] = []
    for message in conversation:
        if message.role != "user" or not message.content:
            continue
        asked.append(message.content)
        scores = ranking.scores(_question(asked[-TURNS:]))
        order = sorted(range(len(tools)), key=lambda number: -scores[number])
        if scores[order[0]] > 0 and (len(asked) == 1 or order[0] not in kept):
            kept = order[:count]
    stay = {call["function"]["name"] for message in conversation for call in message.tool_calls}
    stay |= {tools[number]["function"]["name"] for number in kept} | {named}
    return [tool for tool in tools if tool["function"]["name"] in stay]


def _question(asked: Sequence[str]) -> dict[str, float]:
    """The features of the last questions, those of earlier ones fading."""
    found: dict[str, float] = defaultdict(float)
    for age, text in enumerate(reversed(asked)):
        if len(text) > LONGEST:
            text = f"{text[: LONGEST // 2]} {text[-LONGEST // 2 :]}"
        for feature, count in question_features(text).items():
            found[feature] += min(count, MOST) * FADING**age
    return found


@lru_cache(maxsize=8)
def _ranking(tools: str) -> Ranking:
    """The tools of a JSON list; an application asks with the same ones again and again."""
    return Ranking([list(_fields(tool["function"])) for tool in json.loads(tools)])


def _fields(function: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    yield function["name"], NAME
    yield function.get("description", ""), DESCRIPTION
    yield from _of_schema(function.get("parameters", {}))


def _of_schema(schema: Any) -> Iterator[tuple[str, float]]:
    """The names, descriptions and choices of parameters, at any depth."""
    if not isinstance(schema, dict):
        return
    for name, inner in (schema.get("properties") or {}).items():
        yield name, PARAMETER
        if isinstance(inner, dict):
            yield str(inner.get("description", "")), DETAIL
            yield " ".join(map(str, inner.get("enum") or ())), DETAIL
            yield from _of_schema(inner)
            yield from _of_schema(inner.get("items"))
