"""Messages of a conversation, as a caller gives them and as a chat template wants them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cactus.chat.tools import validate_tools
from cactus.chat.traced import join, trusted
from cactus.errors import InvalidImage, InvalidRequest
from cactus.images.door import is_file_object, read_object
from cactus.images.picture import Limits
from cactus.inputs.values import clean, parse_json, shown

__all__ = ["ROLES", "Message", "parse_messages", "validate_tools"]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_REASONING = ("reasoning_content", "thinking", "reasoning")
_EXAMPLE = '[{"role": "user", "content": "..."}]'
_LOOKS_LIKE_MESSAGES = re.compile(r"\s*\[\s*\{\s*[\"'](role|content)[\"']")


@dataclass(frozen=True)
class Message:
    """One turn. ``content``: its text, "" if there is none; several text parts are joined by "\\n".

    ``images``: paths, URLs, encoded bytes (of file objects what is in them), PIL images, arrays of
    pixels or what `cactus.images` has loaded, in order of appearance. ``tool_calls``: in OpenAI's
    form, ``arguments`` as an object wherever they are one. ``fields``: all that was given, checked,
    which is what a template sees.
    """

    role: str
    content: str = ""
    images: tuple[Any, ...] = field(default=(), repr=False)
    name: str | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    tool_call_id: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)
    parts: tuple[Mapping[str, str], ...] = field(default=(), repr=False)

    def to_template(self, as_parts: bool = False) -> dict[str, Any]:
        """The dict a template reads. ``as_parts``: content as a list; always so with images.

        What is null is left out, since templates handle a missing key better than None.
        """
        own = {"name": self.name, "content": self.content, "tool_call_id": self.tool_call_id}
        given = self.fields or own
        turn: dict[str, Any] = {"role": trusted(self.role)}
        turn |= {key: given[key] for key in given if given[key] is not None}
        turn |= {"role": trusted(self.role)}
        turn.pop("images", None)
        if self.tool_calls:
            turn["tool_calls"] = [dict(call) for call in self.tool_calls]
        if "content" in turn:
            turn["content"] = self.content
        if self.images or (as_parts and "content" in turn):
            turn["content"] = [dict(part) for part in self.content_parts()]
        reasoning = next((turn[key] for key in _REASONING if turn.get(key) is not None), None)
        if reasoning is not None:  # templates read it under either name
            turn = {"thinking": reasoning, **turn, "reasoning_content": reasoning}
        return turn

    def with_text(self, more: str) -> Message:
        """The same message with `more` behind its text, in its last part that has one."""
        parts = [dict(part) for part in self.content_parts()]
        last = next((part for part in reversed(parts) if part["type"] == "text"), None)
        if last is None:
            parts.append({"type": "text", "text": more})
        else:
            last["text"] += more
        fields = {**self.fields, "content": self.content + more} if self.fields else {}
        return replace(self, content=self.content + more, parts=tuple(parts), fields=fields)

    def with_text_before(self, more: str) -> Message:
        """The same message with `more` before its text."""
        parts = [{"type": "text", "text": more}, *self.parts] if self.parts else []
        fields = {**self.fields, "content": more + self.content} if self.fields else {}
        return replace(self, content=more + self.content, parts=tuple(parts), fields=fields)

    def with_calls_in_text(self, written: str) -> Message:
        """The same message with its calls `written` behind its text, and none beside it."""
        content = join([self.content, written], "\n") if self.content else written
        fields = {key: self.fields[key] for key in self.fields if key != "tool_calls"}
        fields["content"] = content
        return replace(self, content=content, tool_calls=(), parts=(), fields=fields)

    def content_parts(self) -> Sequence[Mapping[str, str]]:
        """What it is made of, in order: texts, and the places of `images`."""
        if self.parts:
            return self.parts
        return [*({"type": "image"} for _ in self.images), {"type": "text", "text": self.content}]


def parse_messages(messages: Any) -> list[Message]:
    """Check and normalise messages: a list of dicts, a JSON string of one, or a user's text.

    A string that is a JSON list is the messages themselves; every other string is the text of one
    user message. What begins like messages (``[{"role"``) and is not JSON is refused as damaged.
    Content is a string or OpenAI's list of ``text``, ``image_url`` and ``image`` parts; it may be
    empty, and may be null or missing only beside ``tool_calls``. Order of roles is the template's
    affair. Raises InvalidRequest naming the field (``messages[3].content``), what was expected
    and what was given.
    """
    return [
        _message(item, f"messages[{index}]") for index, item in enumerate(message_list(messages))
    ]


def message_list(messages: Any) -> list[Any]:
    """The list that messages are given as: itself, or what a JSON string or a text stands for.

    The messages in it are not looked at. Raises InvalidRequest for what is not a list.
    """
    if isinstance(messages, (str, bytes, bytearray)):
        try:
            text = messages if isinstance(messages, str) else bytes(messages).decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"messages: expected UTF-8, {error}") from None
        messages = _messages_of(text)
    if not isinstance(messages, (list, tuple)):
        alone = isinstance(messages, Mapping) and "role" in messages
        got = "one message: put it in a list" if alone else shown(messages)
        raise InvalidRequest(
            f"messages: expected a list such as {_EXAMPLE} or a JSON string of one, got {got}"
        )
    if not messages:
        raise InvalidRequest(f"messages: expected at least one message such as {_EXAMPLE}, got []")
    return list(messages)


def _messages_of(text: str) -> Any:
    """What a string says: the JSON list in it, or one user message."""
    if not text:
        raise InvalidRequest("messages: expected a text or a list of messages, got an empty string")
    if _LOOKS_LIKE_MESSAGES.match(text):
        return parse_json(text, "messages")
    if text.lstrip()[:1] in ("[", "{"):
        try:
            parsed = parse_json(text, "messages")
        except InvalidRequest:
            parsed = None
        if isinstance(parsed, list) or (isinstance(parsed, dict) and "role" in parsed):
            return parsed
    return [{"role": "user", "content": text}]


def _message(item: Any, name: str) -> Message:
    if isinstance(item, Message):
        return item
    if not isinstance(item, dict):
        raise InvalidRequest(
            f'{name}: expected an object with "role" and "content", got {shown(item)}'
        )
    role = item.get("role")
    if not isinstance(role, str) or role not in ROLES:
        got = shown(role) if "role" in item else "none"
        raise InvalidRequest(f"{name}.role: expected one of {', '.join(ROLES)}, got {got}")
    given = {key: value for key, value in item.items() if key not in ("images", "content")}
    fields: dict[str, Any] = clean(given, name)
    calls = _tool_calls(fields.get("tool_calls"), f"{name}.tool_calls")
    content = item.get("content")
    if content is None and not calls:
        got = "null" if "content" in item else "none"
        raise InvalidRequest(f"{name}.content: expected a string or a list of parts, got {got}")
    parts, images = _content(content, f"{name}.content")
    images = [*_images(item.get("images"), f"{name}.images"), *images]
    text = "\n".join(part["text"] for part in parts if part["type"] == "text")
    if "content" in item:
        # back where the caller had it: a template may print a message whole
        fields = {key: fields.get(key, text) for key in item if key != "images"}
        if content is None:
            fields["content"] = None
    extra = [{"type": "image"}] * (len(images) - sum(part["type"] == "image" for part in parts))
    return Message(
        role=role,
        content=text,
        images=tuple(images),
        name=_text_or_none(fields, "name", name),
        tool_calls=tuple(calls),
        tool_call_id=_text_or_none(fields, "tool_call_id", name),
        fields=fields,
        parts=tuple([*extra, *parts]),
    )


def _text_or_none(fields: Mapping[str, Any], key: str, name: str) -> str | None:
    value = fields.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"{name}.{key}: expected a string, got {shown(value)}")
    return value


def _content(content: Any, name: str) -> tuple[list[dict[str, str]], list[Any]]:
    """Content as parts, and the images in it."""
    if content is None:
        return [], []
    if isinstance(content, str):
        return [{"type": "text", "text": clean(content, name)}], []
    if not isinstance(content, (list, tuple)):
        raise InvalidRequest(f"{name}: expected a string or a list of parts, got {shown(content)}")
    parts: list[dict[str, str]] = []
    images: list[Any] = []
    for index, part in enumerate(content):
        place = f"{name}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        kind = kind if isinstance(kind, str) else None
        if kind == "text":
            text = part.get("text")
            if not isinstance(text, str):
                raise InvalidRequest(f"{place}.text: expected a string, got {shown(text)}")
            parts.append({"type": "text", "text": clean(text, place)})
        elif kind in ("image", "image_url", "input_image"):
            parts.append({"type": "image"})
            images.append(_image_of(part, place))
        else:
            got = shown(kind if isinstance(part, dict) else part)
            raise InvalidRequest(
                f"{place}.type: expected 'text', 'image_url' or 'image', got {got}"
            )
    return parts, images


def _image_of(part: Mapping[str, Any], name: str) -> Any:
    """The image of a part: OpenAI's ``image_url``, or ``image``, ``path``, ``url``."""
    for key in ("image_url", "image", "path", "url"):
        if key in part:
            value = part[key]
            if isinstance(value, dict):
                key, value = f"{key}.url", value.get("url")
            return _image(value, f"{name}.{key}")
    raise InvalidRequest(f"{name}: expected the image under 'image_url', 'image' or 'path'")


def _images(value: Any, name: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise InvalidRequest(f"{name}: expected a list of images, got {shown(value)}")
    return [_image(image, f"{name}[{index}]") for index, image in enumerate(value)]


def _image(value: Any, name: str) -> Any:
    if isinstance(value, os.PathLike):
        value = os.fsdecode(value)
    if isinstance(value, str) and value:
        return clean(value, name)
    if is_file_object(value):
        try:
            return read_object(value, Limits())
        except InvalidImage as error:
            raise InvalidImage(f"{name}: {error}") from None
    # PIL images and NumPy arrays have the one, what `cactus.images` has loaded the other. Their
    # types are asked: a PIL image would copy all of its pixels to answer, or cannot any more.
    kind = type(value)
    pixels = hasattr(kind, "__array_interface__") or hasattr(kind, "digest")
    if not pixels and not (isinstance(value, (bytes, bytearray, memoryview)) and value):
        raise InvalidRequest(
            f"{name}: expected a path, a URL, bytes, a file object, a PIL image or an array, got "
            f"{shown(value)}"
        )
    return value


def _tool_calls(value: Any, name: str) -> list[dict[str, Any]]:
    """Calls in OpenAI's form; the flat form ``{"name", "arguments"}`` is accepted."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidRequest(f"{name}: expected a list of tool calls, got {shown(value)}")
    calls = []
    for index, call in enumerate(value):
        place = f"{name}[{index}]"
        if not isinstance(call, dict):
            raise InvalidRequest(f"{place}: expected an object, got {shown(call)}")
        flat = "function" not in call
        function = call if flat else call["function"]
        if not isinstance(function, dict):
            raise InvalidRequest(f"{place}.function: expected an object, got {shown(function)}")
        place += "" if flat else ".function"
        if not isinstance(function.get("name"), str) or not function["name"]:
            raise InvalidRequest(
                f"{place}.name: expected a string, got {shown(function.get('name'))}"
            )
        arguments = _arguments(function.get("arguments"), f"{place}.arguments")
        rest = {key: call[key] for key in call if key not in ("function", "name", "arguments")}
        named = {"name": function["name"], "arguments": arguments}
        calls.append({**rest, "type": "function", "function": named})
    return calls


def _arguments(value: Any, name: str) -> Any:
    """An object; a JSON string of one is read, any other string is left to the template."""
    if value is None:
        return {}
    if isinstance(value, str):
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            return value
        return clean(parsed, name) if isinstance(parsed, dict) else value
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name}: expected an object or a JSON string, got {shown(value)}")
    return value
