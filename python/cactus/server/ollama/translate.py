"""From bodies of Ollama's to questions for a model."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from cactus.server.endpoint import Body
from cactus.server.ollama.body import ChatRequest, GenerateRequest, Message, Options, Request
from cactus.server.params import invalid
from cactus.server.questions import Question, sampling, seed_of

_NAMES = {
    "max_total_tokens": "options.num_ctx",
    "stop": "options.stop",
    "top_k": "options.top_k",
    "repetition_penalty": "options.repeat_penalty",
    "presence_penalty": "options.presence_penalty",
    "frequency_penalty": "options.frequency_penalty",
    "temperature": "options.temperature",
    "thinking": "think",
    "response_format.json_schema.schema": "format",
    "response_format": "format",
}
"""What options of the model are called here."""

UNLIMITED = 2**31 - 1
"""Tokens of an answer that only the context limits."""

_SAME = ("temperature", "top_p", "min_p", "stop", "presence_penalty", "frequency_penalty")
_DATA = re.compile(r"data:image/[a-z0-9.+-]{1,60};base64,")


def chat_question(body: ChatRequest) -> Question:
    """What a chat asks. Raises ApiError."""
    options = _options(body)
    if body.tools:
        options["tools"] = body.tools
    messages = [_message(each, f"messages[{n}]") for n, each in enumerate(body.messages)]
    return Question(messages, options, names=_NAMES)


def generate_question(body: GenerateRequest) -> Question:
    """What a prompt asks: as one message of a user, or with `raw` or a `suffix` as it is.

    Raises ApiError.
    """
    if body.template:
        raise invalid(
            "the model's own template is used; write the whole prompt yourself, with raw",
            "template",
            "unsupported_parameter",
        )
    options, prompt = _options(body), body.prompt or ""
    if body.raw or body.suffix:
        alone = "with raw or suffix, the prompt is all that the model reads"
        for name in ("system", "context", "images", *(("suffix",) if body.raw else ())):
            if getattr(body, name):
                raise invalid(alone, name)
        if options.pop("thinking", None) is not None:
            raise invalid(alone, "think")
        return Question(prompt, {**options, "parse_special": True}, raw=True, names=_NAMES)
    messages = recalled(body.context) if body.context else []
    if body.system:
        messages = [m for m in messages if m["role"] != "system"]
        messages.insert(0, {"role": "system", "content": body.system})
    asked: dict[str, Any] = {"role": "user", "content": prompt}
    if body.images:
        asked["images"] = _images(body.images, "images")
    return Question([*messages, asked], options, names=_NAMES)


def _options(body: Request) -> dict[str, Any]:
    given = body.options or Options()
    _check_unsupported(given)
    options: dict[str, Any] = {"sampling": sampling(given.temperature)}
    for name in _SAME:
        if getattr(given, name) is not None:
            options[name] = getattr(given, name)
    if given.top_k is not None:
        options["top_k"] = max(given.top_k, 0)
    if given.seed is not None and given.seed != -1:  # which is how some ask for any
        options["seed"] = seed_of(given.seed, "options.seed")
    if given.repeat_last_n == 0:
        options["repetition_penalty"] = 1.0
    elif given.repeat_penalty is not None:
        options["repetition_penalty"] = given.repeat_penalty or 1.0
    if given.repeat_last_n is not None and given.repeat_last_n > 0:
        options["repetition_window"] = given.repeat_last_n
    limited = given.num_predict is not None and given.num_predict >= 0
    options["max_tokens"] = given.num_predict if limited else UNLIMITED
    if given.num_ctx is not None:
        options["max_total_tokens"] = given.num_ctx
    if body.format == "json":
        options["response_format"] = {"type": "json_object"}
    elif body.format:
        named = {"schema": body.format}
        options["response_format"] = {"type": "json_schema", "json_schema": named}
    if body.think is not None:
        options["thinking"] = body.think is not False
    if body.logprobs:
        options |= {"logprobs": True, "top_logprobs": body.top_logprobs or 0}
    elif body.top_logprobs:
        raise invalid("it is an option of logprobs", "top_logprobs")
    return options


def _check_unsupported(given: Options) -> None:
    """Refuse ways of sampling that are not there, where they would change anything."""
    for name, neutral in (("mirostat", 0), ("typical_p", 1), ("tfs_z", 1)):
        if getattr(given, name) not in (None, neutral):
            raise invalid(
                "it is not supported; use top_p, top_k or min_p",
                f"options.{name}",
                "unsupported_parameter",
            )


def _message(message: Message, where: str) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.role, "content": message.content or ""}
    if message.images:
        said["images"] = _images(message.images, f"{where}.images")
    if message.thinking:
        said["reasoning_content"] = message.thinking
    if message.tool_name:
        said["name"] = message.tool_name
    if message.tool_call_id:
        said["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        said["content"] = message.content or None
        said["tool_calls"] = [
            {
                **({} if call.id is None else {"id": call.id}),
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": {} if call.function.arguments is None else call.function.arguments,
                },
            }
            for call in message.tool_calls
        ]
    return said


def _images(images: Sequence[str], where: str) -> list[bytes]:
    """Images as bytes: a path of this machine is never one."""
    found = []
    for index, text in enumerate(images):
        head = _DATA.match(text[:100])
        try:
            data = base64.b64decode(text[head.end() :] if head else text, validate=True)
        except (binascii.Error, ValueError):
            data = b""
        if not data:
            raise invalid("expected an image file in base64", f"{where}[{index}]", "invalid_image")
        found.append(data)
    return found


class Said(Body, kw_only=True):
    """One message of a `context`: text alone, so that nobody can name a file in it."""

    role: Literal["system", "user", "assistant"]
    content: str


def remembered(messages: Sequence[dict[str, Any]]) -> list[int]:
    """A conversation as the numbers of `context`; its images are left out."""
    kept = [Said(role=each["role"], content=each["content"]) for each in messages]
    return list(msgspec.json.encode(kept))


def recalled(context: Sequence[int]) -> list[dict[str, Any]]:
    """The conversation that `remembered` has written. Raises ApiError."""
    try:
        found = msgspec.json.decode(bytes(context), type=list[Said])
    except (ValueError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError):
        raise invalid("expected what this server has sent as context", "context") from None
    return [{"role": each.role, "content": each.content} for each in found]
