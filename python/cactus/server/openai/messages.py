"""Messages in OpenAI's form, typed, and as ``Model.chat`` takes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from cactus.server.endpoint import Body
from cactus.server.media import image_part, transcript
from cactus.server.params import invalid

if TYPE_CHECKING:
    from cactus.server.service import Service

Detail = Literal["auto", "low", "high", "original"]


class TextPart(Body, tag_field="type", tag="text", kw_only=True):
    """Text."""

    text: str


class ImageUrl(Body, kw_only=True):
    """Where an image is: a ``data:`` URL, or an http(s) one where the server fetches these."""

    url: str
    detail: Detail | None = None


class ImagePart(Body, tag_field="type", tag="image_url", kw_only=True):
    """An image."""

    image_url: ImageUrl | str


class InputAudio(Body, kw_only=True):
    """Speech, as base64. What its bytes say counts, not the `format`."""

    data: str
    format: str | None = None


class AudioPart(Body, tag_field="type", tag="input_audio", kw_only=True):
    """Speech, which a speech model of the server writes down first."""

    input_audio: InputAudio


class RefusalPart(Body, tag_field="type", tag="refusal", kw_only=True):
    """What an assistant did not want to say; it counts as text."""

    refusal: str


class FilePart(Body, tag_field="type", tag="file", kw_only=True):
    """A file. It is refused."""

    file: Any


Part = TextPart | ImagePart | AudioPart | RefusalPart | FilePart


class SystemMessage(Body, tag_field="role", tag="system", kw_only=True):
    """What the model is told to be."""

    content: str | list[Part]
    name: str | None = None


class DeveloperMessage(Body, tag_field="role", tag="developer", kw_only=True):
    """The same as a system message."""

    content: str | list[Part]
    name: str | None = None


class UserMessage(Body, tag_field="role", tag="user", kw_only=True):
    """What the user says."""

    content: str | list[Part]
    name: str | None = None


class CalledFunction(Body, kw_only=True):
    """The function that was called. `arguments` are JSON, or whatever the model wrote."""

    name: str
    arguments: Any = ""


class Called(Body, kw_only=True):
    """A call of a tool."""

    function: CalledFunction
    id: str | None = None
    type: Literal["function"] = "function"


class AssistantMessage(Body, tag_field="role", tag="assistant", kw_only=True):
    """What the model has said. `reasoning_content` is what it thought before."""

    content: str | list[Part] | None = None
    tool_calls: list[Called] | None = None
    function_call: CalledFunction | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    name: str | None = None
    audio: Any = None


class ToolMessage(Body, tag_field="role", tag="tool", kw_only=True):
    """What a tool has given."""

    content: str | list[Part]
    tool_call_id: str
    name: str | None = None


class FunctionMessage(Body, tag_field="role", tag="function", kw_only=True):
    """What a function has given, in the form before tools."""

    content: str | None
    name: str


Message = (
    SystemMessage
    | DeveloperMessage
    | UserMessage
    | AssistantMessage
    | ToolMessage
    | FunctionMessage
)

Turn = dict[str, Any]
"""A message as ``Model.chat`` takes it."""


async def turns_of(
    service: Service, messages: Sequence[Message], where: str = "messages"
) -> list[Turn]:
    """The messages for a model; speech in them is written down. Raises ApiError."""
    turns = []
    for index, message in enumerate(messages):
        place = f"{where}[{index}]"
        if isinstance(message, AssistantMessage):
            turns.append(await _assistant(service, message, place))
        elif isinstance(message, FunctionMessage):
            turns.append({"role": "tool", "name": message.name, "content": message.content or ""})
        else:
            role = "tool" if isinstance(message, ToolMessage) else message.__struct_config__.tag
            turn: Turn = {"role": "system" if role == "developer" else role}
            turn["content"] = await content_of(service, message.content, f"{place}.content")
            if message.name is not None:
                turn["name"] = message.name
            if isinstance(message, ToolMessage):
                turn["tool_call_id"] = message.tool_call_id
            turns.append(turn)
    return with_one_system(turns)


async def _assistant(service: Service, message: AssistantMessage, place: str) -> Turn:
    if message.audio is not None:
        raise invalid("no audio is kept here; send its text as content", f"{place}.audio")
    content = message.content
    turn: Turn = {
        "role": "assistant",
        "content": content if content is not None else message.refusal,
    }
    if isinstance(content, list):
        turn["content"] = await content_of(service, content, f"{place}.content")
    thought = message.reasoning_content or message.reasoning
    if thought:
        turn["reasoning_content"] = thought
    calls = list(message.tool_calls or ())
    if message.function_call is not None:
        calls.append(Called(function=message.function_call))
    if calls:
        turn["tool_calls"] = [_call(call) for call in calls]
    elif turn["content"] is None and thought:
        turn["content"] = ""
    if message.name is not None:
        turn["name"] = message.name
    return turn


def _call(call: Called) -> dict[str, Any]:
    named = {"name": call.function.name, "arguments": call.function.arguments}
    found: dict[str, Any] = {"type": "function", "function": named}
    return found if call.id is None else {"id": call.id, **found}


async def part_of(service: Service, part: Part, place: str) -> dict[str, str]:
    """A part of content as a model takes it. Raises ApiError."""
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    if isinstance(part, RefusalPart):
        return {"type": "text", "text": part.refusal}
    if isinstance(part, ImagePart):
        if isinstance(part.image_url, str):
            return image_part(part.image_url, f"{place}.image_url")
        return image_part(part.image_url.url, f"{place}.image_url.url")
    if isinstance(part, AudioPart):
        audio = await transcript(service, part.input_audio.data, f"{place}.input_audio.data")
        return {"type": "text", "text": audio}
    raise invalid(
        "files are not read; send their text, or index a folder of them",
        f"{place}.file",
        "unsupported_media",
    )


async def content_of(
    service: Service,
    content: str | Sequence[Any],
    place: str,
    one: Callable[[Service, Any, str], Awaitable[dict[str, str]]] = part_of,
) -> Any:
    """Content as a model takes it: a text, or what `one` makes of each part. Raises ApiError."""
    if isinstance(content, str):
        return content
    return [await one(service, part, f"{place}[{n}]") for n, part in enumerate(content)]


def with_one_system(turns: list[Turn]) -> list[Turn]:
    """The system messages at the beginning as one: many templates only know of the first."""
    count = next((n for n, turn in enumerate(turns) if turn["role"] != "system"), len(turns))
    texts = [_text(turn["content"]) for turn in turns[:count]]
    if count < 2 or None in texts:
        return turns
    joined = "\n\n".join(text for text in texts if text)
    return [{"role": "system", "content": joined}, *turns[count:]]


def _text(content: Any) -> str | None:
    """The text of content; None where there is more than text."""
    if isinstance(content, str):
        return content
    texts = [part.get("text") for part in content]
    return None if None in texts else "\n".join(texts)


def tiles_of(messages: Sequence[Message]) -> int | None:
    """One tile for each image, where all of them are to be looked at in low detail."""
    details = [
        part.image_url.detail
        for message in messages
        if isinstance(message, UserMessage) and isinstance(message.content, list)
        for part in message.content
        if isinstance(part, ImagePart) and not isinstance(part.image_url, str)
    ]
    return 1 if details and all(detail == "low" for detail in details) else None


def urls_in(turns: Sequence[Turn]) -> bool:
    """Whether an image of the messages is to be fetched."""
    return any(
        part.get("image_url", "")[:5].lower() in ("http:", "https")
        for turn in turns
        if isinstance(turn.get("content"), list)
        for part in turn["content"]
    )
