"""Anthropic's API: ``POST /v1/messages``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cactus.cloud.images import image_url, split_data_url
from cactus.cloud.question import Question, calls_with_ids
from cactus.cloud.reading import Reading, field_of
from cactus.cloud.settings import Settings
from cactus.errors import CloudError
from cactus.types import FinishReason

VERSION = "2023-06-01"

REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
}

ANSWER = "answer"
"""The tool by whose input an answer in JSON comes: every version of the API has those."""


def headers(settings: Settings) -> dict[str, str]:
    """The headers of a request, with the key in one of them."""
    key = {} if settings.key is None else {"x-api-key": settings.key.reveal()}
    return {"anthropic-version": VERSION, **key}


def body(settings: Settings, question: Question) -> dict[str, Any]:
    """The request. Raises CloudError for an answer in JSON with tools beside it."""
    system, messages = _messages(question)
    asked: dict[str, Any] = {
        "model": settings.model,
        "messages": messages,
        "max_tokens": max(1, question.max_tokens),
    }
    if system:
        asked["system"] = system
    if question.streamed:
        asked["stream"] = True
    if question.schema is not None:
        if question.tools:
            raise CloudError("this API has no answer in JSON with tools beside it", code="format")
        schema = {"type": "object", **question.schema}
        asked["tools"] = [
            {"name": ANSWER, "description": "Gives the answer.", "input_schema": schema}
        ]
        asked["tool_choice"] = {"type": "tool", "name": ANSWER}
    elif question.tools:
        asked["tools"] = [_tool(tool["function"]) for tool in question.tools]
        kinds = {"auto": "auto", "none": "none", "required": "any"}
        kind = kinds.get(question.tool_choice, "tool")
        choice: dict[str, Any] = {"type": kind}
        if kind == "tool":
            choice["name"] = question.tool_choice
        if not question.parallel_tool_calls and kind != "none":
            choice["disable_parallel_tool_use"] = True
        if choice != {"type": "auto"}:
            asked["tool_choice"] = choice
    return asked


def _tool(function: Mapping[str, Any]) -> dict[str, Any]:
    tool = {"name": function["name"], "input_schema": function["parameters"]}
    if "description" in function:
        tool["description"] = function["description"]
    return tool


def _messages(question: Question) -> tuple[str, list[dict[str, Any]]]:
    """The system's text, and turns that alternate between user and assistant."""
    system: list[str] = []
    turns: list[dict[str, Any]] = []
    for message, ids in calls_with_ids(question.messages):
        if message.role in ("system", "developer"):
            system.append(message.content)
            continue
        blocks: list[dict[str, Any]] = []
        role = "assistant" if message.role == "assistant" else "user"
        if message.role in ("tool", "function"):
            result = {"type": "tool_result", "tool_use_id": ids[0], "content": message.content}
            blocks.append(result)
        else:
            images = iter(message.images)
            for part in message.content_parts():
                if part["type"] == "image":
                    blocks.append({"type": "image", "source": _source(next(images))})
                elif part["text"]:
                    blocks.append({"type": "text", "text": part["text"]})
        for call, id in zip(message.tool_calls, ids, strict=False):
            function = call["function"]
            given = function["arguments"]
            if not isinstance(given, Mapping):
                given = {"arguments": given}  # broken JSON in the history, as it was
            blocks.append(
                {"type": "tool_use", "id": id, "name": function["name"], "input": dict(given)}
            )
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    return "\n\n".join(system), turns


def _source(image: Any) -> dict[str, str]:
    url = image_url(image)
    data = split_data_url(url)
    if data is None:
        return {"type": "url", "url": url}
    return {"type": "base64", "media_type": data[0], "data": data[1]}


class AnthropicReading(Reading):
    """Reads what comes back."""

    def whole(self, reply: Any) -> None:
        """A reply in one piece."""
        self.check_error(reply)
        for index, block in enumerate(field_of(reply, "content", list)):
            self._begin(index, block)
        self._usage(reply)
        self._end(reply)
        self.reason = self.reason or "stop"

    def event(self, event: Any) -> None:
        """One event of a stream."""
        self.check_error(event)
        kind = field_of(event, "type", str)
        if kind == "message_start":
            self._usage(field_of(event, "message", dict))
        elif kind == "content_block_start":
            self._begin(event.get("index"), event.get("content_block"))
        elif kind == "content_block_delta":
            delta = field_of(event, "delta", dict)
            if delta.get("type") == "text_delta":
                self.add_text(field_of(delta, "text", str))
            elif delta.get("type") == "input_json_delta":
                self._input(event.get("index"), field_of(delta, "partial_json", str))
        elif kind == "message_delta":
            self._usage(event)
            self._end(field_of(event, "delta", dict))

    def _begin(self, index: object, block: Any) -> None:
        kind = field_of(block, "type", str)
        if kind == "text":
            self.add_text(field_of(block, "text", str))
        elif kind == "tool_use":
            given = block.get("input")
            # In a stream it begins as {} and comes in pieces.
            arguments = json.dumps(given) if given else ""
            self._input(index, arguments, block.get("id"), block.get("name"))

    def _input(self, index: object, arguments: str, id: object = None, name: object = None) -> None:
        if self._question.schema is not None:
            self.add_text(arguments)
        else:
            self.add_call(index, id, name, arguments)

    def _end(self, reply: dict[str, Any]) -> None:
        reason = reply.get("stop_reason")
        if reason == "refusal":
            self.refused()
        if reason is not None:
            self.reason = REASONS.get(str(reason), "stop")

    def _usage(self, reply: dict[str, Any]) -> None:
        usage = reply.get("usage")
        if isinstance(usage, dict):
            self.count(usage.get("input_tokens"), usage.get("output_tokens"))
