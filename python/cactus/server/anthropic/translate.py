"""From a body of Anthropic's to messages and options of `Model`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cactus.inputs.checks import short
from cactus.server.anthropic.body import (
    Adaptive,
    AnyTool,
    Base64Source,
    Content,
    CountRequest,
    Disabled,
    Document,
    Enabled,
    Image,
    MessageRequest,
    NamedTool,
    NoTool,
    RedactedThinking,
    Text,
    TextSource,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
)
from cactus.server.errors import ApiError
from cactus.server.media import image_of_bytes, image_part
from cactus.server.params import invalid
from cactus.server.questions import Question, sampling

_ID = "toolu_"
_NAMES = {
    "stop": "stop_sequences",
    "response_format.json_schema": "output_config.format",
}
"""What options of the model are called here."""


@dataclass(frozen=True)
class Asked:
    """A request as `Model` takes it.

    `cached`: the client wants the prompt to be remembered, and is told of it. `hides`: thoughts are
    not shown.
    """

    messages: list[dict[str, Any]]
    options: dict[str, Any]
    cached: bool = False
    hides: bool = False

    @property
    def question(self) -> Question:
        """For the model."""
        return Question(self.messages, self.options, names=_NAMES)


def tool_id(id: str) -> str:
    """The id of a call as Anthropic's clients know it."""
    return _ID + id


def asked_of(body: CountRequest, *, urls: bool = False) -> Asked:
    """What a body asks for; images are fetched only with `urls`. Raises ApiError."""
    options: dict[str, Any] = {"allow_image_urls": True} if urls else {}
    if body.tools:
        options["tools"] = [_tool(tool, index) for index, tool in enumerate(body.tools)]
    options |= _choice(body)
    options |= _thinking(body)
    if body.output_config is not None and body.output_config.format is not None:
        named = {"schema": body.output_config.format.schema, "strict": True}
        options["response_format"] = {"type": "json_schema", "json_schema": named}
    if isinstance(body, MessageRequest):
        options |= _sampling(body)
    hides = isinstance(body.thinking, Enabled | Adaptive) and body.thinking.display == "omitted"
    return Asked(_messages(body), options, _is_cached(body), hides)


def _sampling(body: MessageRequest) -> dict[str, Any]:
    given = {
        "max_tokens": body.max_tokens,
        "stop": body.stop_sequences,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    return {"sampling": sampling(body.temperature), **chosen}


def _tool(tool: Tool, index: int) -> dict[str, Any]:
    place = f"tools[{index}]"
    if tool.type not in (None, "custom"):
        raise invalid(
            f"expected 'custom', got {short(tool.type)}: only tools that the client "
            "describes and runs are known here",
            f"{place}.type",
        )
    if not isinstance(tool.input_schema, dict):
        raise invalid("expected a JSON schema of an object", f"{place}.input_schema")
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function}


def _choice(body: CountRequest) -> dict[str, Any]:
    choice = body.tool_choice
    if choice is None:
        return {}
    if not body.tools:
        if isinstance(choice, AnyTool | NamedTool):
            raise invalid("there are no tools to choose", "tool_choice")
        return {}
    wanted = "auto"
    if isinstance(choice, NamedTool):
        wanted = choice.name
        if wanted not in (tool.name for tool in body.tools):
            raise invalid(f"there is no tool {short(wanted)}", "tool_choice.name")
    elif isinstance(choice, AnyTool):
        wanted = "required"
    elif isinstance(choice, NoTool):
        wanted = "none"
    options: dict[str, Any] = {"tool_choice": wanted}
    if choice.disable_parallel_tool_use:
        options["parallel_tool_calls"] = False
    return options


def _thinking(body: CountRequest) -> dict[str, Any]:
    thinking = body.thinking
    if isinstance(thinking, Enabled):
        if isinstance(body, MessageRequest) and thinking.budget_tokens >= body.max_tokens:
            raise invalid(
                f"expected less than max_tokens ({body.max_tokens}), got {thinking.budget_tokens}",
                "thinking.budget_tokens",
            )
        return {"thinking": True}
    return {"thinking": False} if isinstance(thinking, Disabled) else {}


def _is_cached(body: CountRequest) -> bool:
    """Whether the client has marked anything to be remembered."""
    system = body.system if isinstance(body.system, list) else []
    blocks: list[Any] = [body, *system, *(body.tools or ())]
    for turn in body.messages:
        if isinstance(turn.content, list):
            blocks += turn.content
    return any(block.cache_control is not None for block in blocks)


def _messages(body: CountRequest) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    system = body.system
    if isinstance(system, list):
        system = "\n".join(block.text for block in system)
    if system:
        said.append({"role": "system", "content": system})
    names = {
        block.id: block.name
        for turn in body.messages
        if isinstance(turn.content, list)
        for block in turn.content
        if isinstance(block, ToolUse)
    }
    for index, turn in enumerate(body.messages):
        place = f"messages[{index}].content"
        if isinstance(turn.content, str):
            said.append({"role": turn.role, "content": turn.content})
        elif turn.role == "assistant":
            said.append(_assistant(turn.content, place))
        else:
            said += _user(turn, turn.content, names, place)
    return said


def _assistant(blocks: Sequence[Content], place: str) -> dict[str, Any]:
    texts, thoughts, calls = [], [], []
    for index, block in enumerate(blocks):
        if isinstance(block, Text):
            texts.append(block.text)
        elif isinstance(block, Thinking):
            thoughts.append(block.thinking)
        elif isinstance(block, ToolUse):
            given = block.input if block.input is not None else {}
            function = {"name": block.name, "arguments": given}
            calls.append({"id": _own_id(block.id), "type": "function", "function": function})
        elif not isinstance(block, RedactedThinking):
            raise _misplaced(block, f"{place}[{index}]", "an assistant says no such thing")
    said: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
    if "".join(thoughts):
        said["reasoning_content"] = "".join(thoughts)
    if calls:
        said |= {"content": said["content"] or None, "tool_calls": calls}
    return said


def _user(
    turn: Turn, blocks: Sequence[Content], names: dict[str, str], place: str
) -> list[dict[str, Any]]:
    """The messages of a user's turn: each result of a tool is one of its own."""
    said: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for index, block in enumerate(blocks):
        where = f"{place}[{index}]"
        if isinstance(block, ToolResult):
            if turn.role != "user":
                raise _misplaced(block, where, f"it belongs to a user, not to a {turn.role}")
            if parts:
                said.append({"role": turn.role, "content": parts})
                parts = []
            message, images = _result(block, names, where)
            said.append(message)
            parts += images
        elif isinstance(block, Text | Image | Document):
            parts.append(_part(block, where))
        else:
            raise _misplaced(block, where, f"it belongs to an assistant, not to a {turn.role}")
    if parts or not said:
        said.append({"role": turn.role, "content": parts})
    return said


def _result(
    block: ToolResult, names: dict[str, str], place: str
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The message of a result, and its images, which templates know in users' messages only."""
    if isinstance(block.content, str):
        text, images = block.content, []
    else:
        found = [
            _part(each, f"{place}.content[{index}]")
            for index, each in enumerate(block.content or ())
        ]
        text = "\n".join(part["text"] for part in found if part["type"] == "text")
        images = [part for part in found if part["type"] != "text"]
    message = {
        "role": "tool",
        "tool_call_id": _own_id(block.tool_use_id),
        "content": f"Error: {text}" if block.is_error else text,
    }
    if block.tool_use_id in names:
        message["name"] = names[block.tool_use_id]
    return message, images


def _part(block: Text | Image | Document, place: str) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"type": "text", "text": block.text}
    source = block.source
    if isinstance(block, Document):
        if not isinstance(source, TextSource):
            raise invalid(
                "only documents of plain text are read; send the text of others", f"{place}.source"
            )
        heads = [head for head in (block.title, block.context) if head]
        return {"type": "text", "text": "\n".join([*heads, source.data])}
    if isinstance(source, Base64Source):
        return image_of_bytes(source.data, source.media_type, f"{place}.source.media_type")
    assert not isinstance(source, TextSource)
    return image_part(source.url, f"{place}.source.url")


def _misplaced(block: Content, place: str, why: str) -> ApiError:
    kind = type(block).__struct_config__.tag
    return invalid(f"{kind!r} is not expected here: {why}", f"{place}.type")


def _own_id(id: str) -> str:
    """The id of a call as the model's template had it."""
    return id.removeprefix(_ID)
