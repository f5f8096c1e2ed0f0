"""OpenAI's API, which many services speak: ``POST /chat/completions``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cactus.cloud.images import image_url
from cactus.cloud.question import Question, calls_with_ids
from cactus.cloud.reading import Reading, bad, field_of
from cactus.cloud.settings import Settings
from cactus.types import FinishReason

REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}


def headers(settings: Settings) -> dict[str, str]:
    """The headers of a request, with the key in one of them."""
    if settings.key is None:
        return {}
    return {"Authorization": f"Bearer {settings.key.reveal()}"}


def body(settings: Settings, question: Question) -> dict[str, Any]:
    """The request."""
    asked: dict[str, Any] = {"model": settings.model, "messages": _messages(question)}
    # OpenAI's own newer models refuse the name that all other services know.
    own = settings.host == "api.openai.com"
    asked["max_completion_tokens" if own else "max_tokens"] = question.max_tokens
    if question.streamed:
        asked["stream"] = True
    if question.tools:
        asked["tools"] = [dict(tool) for tool in question.tools]
        if question.tool_choice != "auto":
            choice = question.tool_choice
            named = {"type": "function", "function": {"name": choice}}
            asked["tool_choice"] = choice if choice in ("none", "required") else named
        if not question.parallel_tool_calls:
            asked["parallel_tool_calls"] = False
    if question.schema is not None:
        asked["response_format"] = {"type": "json_object"}
    if question.schema:
        wanted = {"name": "answer", "schema": dict(question.schema)}
        asked["response_format"] = {"type": "json_schema", "json_schema": wanted}
    return asked


def _messages(question: Question) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for message, ids in calls_with_ids(question.messages):
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.role == "developer":
            turn["role"] = "system"  # which all services know
        elif message.role in ("tool", "function"):
            turn |= {"role": "tool", "tool_call_id": ids[0]}
        if message.name is not None and turn["role"] == "user":
            turn["name"] = message.name
        if message.images:
            images = iter(message.images)
            turn["content"] = [
                {"type": "image_url", "image_url": {"url": image_url(next(images))}}
                if part["type"] == "image"
                else {"type": "text", "text": part["text"]}
                for part in message.content_parts()
            ]
        if message.tool_calls:
            turn["content"] = message.content or None
            turn["tool_calls"] = [
                {"id": id, "type": "function", "function": _call(call["function"])}
                for call, id in zip(message.tool_calls, ids, strict=True)
            ]
        turns.append(turn)
    return turns


def _call(function: Mapping[str, Any]) -> dict[str, str]:
    arguments = function["arguments"]
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {"name": function["name"], "arguments": arguments}


class OpenAIReading(Reading):
    """Reads what comes back."""

    def whole(self, reply: Any) -> None:
        """A reply in one piece."""
        self._take(field_of(self._choice(reply), "message", dict))
        self.reason = self.reason or "stop"

    def event(self, event: Any) -> None:
        """One event of a stream."""
        if isinstance(event, dict) and event.get("choices") == []:
            self._usage(event)  # the last one has only what it cost
            return
        delta = self._choice(event).get("delta") or {}
        if not isinstance(delta, dict):
            raise bad("choices[0].delta is not an object")
        self._take(delta)

    def _choice(self, reply: Any) -> dict[str, Any]:
        self.check_error(reply)
        self._usage(reply)
        choices = field_of(reply, "choices", list)
        if not choices or not isinstance(choices[0], dict):
            raise bad("choices is empty")
        choice: dict[str, Any] = choices[0]
        reason = choice.get("finish_reason")
        if reason in ("content_filter", "refusal"):
            self.refused()
        if reason:  # some services say "" until it is there
            self.reason = REASONS.get(str(reason), "stop")
        return choice

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("refusal"):
            self.refused()
        content = message.get("content")
        if isinstance(content, list):  # some services give parts
            content = "".join(
                part["text"]
                for part in content
                if isinstance(part, dict) and isinstance(part.get("text"), str)
            )
        if content is not None and not isinstance(content, str):
            raise bad("content is not a text")
        self.add_text(content or "")
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list):
            raise bad("tool_calls is not a list")
        for number, call in enumerate(calls):
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict):
                raise bad(f"tool_calls[{number}] has no function")
            arguments = function.get("arguments")
            if isinstance(arguments, dict):  # as some services have it
                arguments = json.dumps(arguments)
            index = call.get("index")
            index = number if index is None else index
            self.add_call(index, call.get("id"), function.get("name"), arguments)

    def _usage(self, reply: Any) -> None:
        usage = reply.get("usage") if isinstance(reply, dict) else None
        if isinstance(usage, dict):
            self.count(usage.get("prompt_tokens"), usage.get("completion_tokens"))
