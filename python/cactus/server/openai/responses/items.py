"""What a response is made from: messages, calls and their results, as items."""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import field

from cactus.inputs.checks import short
from cactus.inputs.text import one_line
from cactus.server.endpoint import Body
from cactus.server.errors import ApiError
from cactus.server.media import image_part
from cactus.server.openai.messages import (
    AudioPart,
    Detail,
    RefusalPart,
    TextPart,
    Turn,
    content_of,
    part_of,
    with_one_system,
)
from cactus.server.params import invalid

if TYPE_CHECKING:
    from cactus.server.service import Service

Item = dict[str, Any]
"""An item as it is kept: as it was sent, with its `type` and an `id`."""


class InputText(Body, tag_field="type", tag="input_text", kw_only=True):
    """Text."""

    text: str


class OutputText(Body, tag_field="type", tag="output_text", kw_only=True):
    """Text that the model has said."""

    text: str


class InputImage(Body, tag_field="type", tag="input_image", kw_only=True):
    """An image, by a ``data:`` URL."""

    image_url: str | None = None
    file_id: str | None = None
    detail: Detail | None = None


class InputFile(Body, tag_field="type", tag="input_file", kw_only=True):
    """A file. It is refused."""


Part = InputText | OutputText | TextPart | InputImage | AudioPart | InputFile | RefusalPart


class AnyItem(Body, kw_only=True):
    """What all items have."""

    id: str | None = None


class MessageItem(AnyItem, kw_only=True):
    """A message."""

    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Part]


class CallItem(AnyItem, kw_only=True):
    """A call of a tool that the model has made."""

    call_id: str
    name: str
    arguments: str = ""


class CustomCallItem(AnyItem, kw_only=True):
    """A call of a tool that takes a text."""

    call_id: str
    name: str
    input: str


class ResultItem(AnyItem, kw_only=True):
    """What a tool has given."""

    call_id: str
    output: str | list[Part]


class ThoughtText(Body, kw_only=True):
    """A part of what the model thought."""

    text: str = ""


class ReasoningItem(AnyItem, kw_only=True):
    """What the model thought."""

    summary: list[ThoughtText] = field(default_factory=list)
    content: list[ThoughtText] | None = None


class ReferenceItem(Body, kw_only=True):
    """An item of a response that is kept."""

    id: str


KINDS: dict[str, type[Body]] = {
    "message": MessageItem,
    "function_call": CallItem,
    "function_call_output": ResultItem,
    "custom_tool_call": CustomCallItem,
    "custom_tool_call_output": ResultItem,
    "reasoning": ReasoningItem,
    "item_reference": ReferenceItem,
}

PREFIX = {"message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc"}


def new_id(kind: str) -> str:
    """An id of an item."""
    return f"{PREFIX.get(kind, 'item')}_{token_hex(12)}"


def items_of(given: str | Sequence[Any]) -> list[Item]:
    """Input as items, with ids; a text is a message of the user. Raises ApiError."""
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    found = []
    for index, raw in enumerate(given):
        if not isinstance(raw, dict):
            raise invalid(f"expected an object, got {type(raw).__name__}", f"input[{index}]")
        kind = raw.get("type") or ("message" if "role" in raw else "item_reference")
        if not isinstance(kind, str) or kind not in KINDS:
            raise invalid(f"expected {', '.join(KINDS)}, got {short(kind)}", f"input[{index}].type")
        _typed(raw, kind, f"input[{index}]")
        found.append({**raw, "type": kind, "id": raw.get("id") or new_id(kind)})
    return found


def _typed(raw: Item, kind: str, place: str) -> Any:
    try:
        return msgspec.convert(raw, KINDS[kind])
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        param = place + path.rstrip("`")
        message = one_line(message)  # it has the value where that is none of several
        raise ApiError(400, f"{param}: {message}", code="invalid_type", param=param) from None


async def turns_of(service: Service, items: Sequence[Item]) -> list[Turn]:
    """The messages that items stand for. Raises ApiError.

    What the assistant thought, said and called between two others is one message.
    """
    turns: list[Turn] = []
    for index, raw in enumerate(items):
        place = f"input[{index}]"
        item = _typed(raw, raw["type"], place)
        if isinstance(item, MessageItem):
            content = await content_of(service, item.content, f"{place}.content", _part)
            if item.role == "assistant":
                _own(turns, "content")["content"] = content
            else:
                role = "system" if item.role == "developer" else item.role
                turns.append({"role": role, "content": content})
        elif isinstance(item, ReasoningItem):
            thought = "\n".join(part.text for part in item.content or item.summary)
            if thought:
                _own(turns, "reasoning_content")["reasoning_content"] = thought
        elif isinstance(item, (CallItem, CustomCallItem)):
            arguments: Any = item.arguments if isinstance(item, CallItem) else {"input": item.input}
            function = {"name": item.name, "arguments": arguments}
            calls = _own(turns).setdefault("tool_calls", [])
            calls.append({"id": item.call_id, "type": "function", "function": function})
        elif isinstance(item, ResultItem):
            content = await content_of(service, item.output, f"{place}.output", _part)
            turns.append({"role": "tool", "tool_call_id": item.call_id, "content": content})
    for turn in turns:
        if turn["role"] == "assistant" and "content" not in turn:
            turn["content"] = None if "tool_calls" in turn else ""
    return with_one_system(turns)


def _own(turns: list[Turn], once: str = "") -> Turn:
    """The assistant's message that is being put together; another where it has `once` already."""
    last = turns[-1] if turns else {"role": ""}
    if last["role"] != "assistant" or once in last or (once and "tool_calls" in last):
        turns.append({"role": "assistant"})
    return turns[-1]


async def _part(service: Service, part: Part, place: str) -> dict[str, str]:
    if isinstance(part, (InputText, OutputText)):
        return {"type": "text", "text": part.text}
    if isinstance(part, InputImage) and part.image_url is not None:
        return image_part(part.image_url, f"{place}.image_url")
    if isinstance(part, (InputImage, InputFile)):
        raise invalid("files are not read; send their text", place, "unsupported_media")
    return await part_of(service, part, place)


def resource(item: Item) -> Item:
    """An item as it is listed: a message's text as a part, and how far it is."""
    shown = {"status": "completed", **item}
    if item["type"] == "message" and isinstance(item["content"], str):
        kind = "output_text" if item["role"] == "assistant" else "input_text"
        part: Item = {"type": kind, "text": item["content"]}
        if kind == "output_text":
            part |= {"annotations": [], "logprobs": []}
        shown["content"] = [part]
    elif item["type"] == "message":
        images = {"input_image": {"detail": "auto"}}
        shown["content"] = [images.get(part["type"], {}) | part for part in item["content"]]
    return shown
