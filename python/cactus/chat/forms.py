"""The forms of a conversation in which templates differ, and which of them one takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cactus.chat.messages import Message
from cactus.errors import TemplateError

Turns = list[dict[str, Any]]


def render_some_form(run: Callable[[Turns], str], turns: Turns, nothing: Any) -> str:
    """``run(turns)``, or the rendering of the first other form that the template takes.

    An assistant that only calls tools has no content: some templates want an empty one there,
    which is ``nothing``. The arguments of a call are an object: some templates want them as JSON,
    and some fail where they are none. Some want the tool's name beside its result. Raises the error
    of ``turns`` if no form is taken.
    """
    filled = [turn if "content" in turn else {"content": nothing, **turn} for turn in turns]
    named = _with_names(filled)
    objects = [_with_arguments(turn, _as_object) for turn in named]
    forms = [turns, filled, [_with_arguments(turn, _as_json) for turn in filled], named, objects]
    failure: TemplateError | None = None
    tried: list[Turns] = []
    for form in forms:
        if form in tried:
            continue
        tried.append(form)
        try:
            return run(form)
        except TemplateError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _with_arguments(turn: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """The turn with the arguments of its calls changed."""
    calls = turn.get("tool_calls")
    if not isinstance(calls, list) or not calls:
        return turn
    changed = []
    for call in calls:
        function = call["function"]
        arguments = change(function["arguments"])
        changed.append({**call, "function": {**function, "arguments": arguments}})
    return turn | {"tool_calls": changed}


def _as_json(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _as_object(arguments: Any) -> Any:
    """Arguments that were no JSON object, which a model may have written, as an object's text."""
    return {"arguments": arguments} if isinstance(arguments, str) else arguments


def _with_names(turns: Turns) -> Turns:
    """The turns with the name of the tool at each result that has none."""
    named: Turns = []
    calls: list[dict[str, Any]] = []
    for turn in turns:
        if turn.get("tool_calls"):
            calls = list(turn["tool_calls"])
        if turn["role"] == "tool" and calls:
            call = _pop(calls, turn.get("tool_call_id"))
            turn = {"name": call["function"]["name"], **turn}
        named.append(turn)
    return named


def one_call_each(conversation: Sequence[Message]) -> list[Message]:
    """The conversation with a message for each call, and its result behind it."""
    split: list[Message] = []
    waiting: list[dict[str, Any]] = []
    said: Message | None = None

    def say(call: Mapping[str, Any]) -> None:
        nonlocal said
        assert said is not None
        split.append(replace(said, tool_calls=(call,)))
        fields = {key: said.fields[key] for key in said.fields if key != "content"}
        said = replace(said, content="", parts=(), images=(), fields=fields)

    for message in conversation:
        if message.role == "tool" and waiting:
            say(_pop(waiting, message.tool_call_id))
        while waiting and message.role != "tool":
            say(waiting.pop(0))
        if len(message.tool_calls) > 1:
            said, waiting = message, [dict(call) for call in message.tool_calls]
        else:
            split.append(message)
    while waiting:
        say(waiting.pop(0))
    return split


def _pop(calls: list[dict[str, Any]], id: Any) -> dict[str, Any]:
    """Take the call with this id out of `calls`, or else the first."""
    index = next((n for n, call in enumerate(calls) if id and call.get("id") == id), 0)
    return calls.pop(index)
