"""The forms of a conversation in which templates differ, and which of them one takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cactus.errors import TemplateError

Turns = list[dict[str, Any]]


def render_some_form(run: Callable[[Turns], str], turns: Turns, nothing: Any) -> str:
    """``run(turns)``, or the rendering of the first other form that the template takes.

    An assistant that only calls tools has no content: some templates want an empty one there,
    which is ``nothing``. The arguments of a call are an object: some templates want them as JSON.
    Raises the error of ``turns`` if no form is taken.
    """
    filled = [turn if "content" in turn else {"content": nothing, **turn} for turn in turns]
    failure: TemplateError | None = None
    tried: Turns = []
    for form in (turns, filled, [_with_json_arguments(turn) for turn in filled]):
        if form == tried:
            continue
        tried = form
        try:
            return run(form)
        except TemplateError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _with_json_arguments(turn: dict[str, Any]) -> dict[str, Any]:
    calls = turn.get("tool_calls")
    if not isinstance(calls, list) or not calls:
        return turn
    spelled = []
    for call in calls:
        arguments = call["function"]["arguments"]
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        spelled.append({**call, "function": {**call["function"], "arguments": arguments}})
    return turn | {"tool_calls": spelled}
