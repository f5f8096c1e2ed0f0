"""A response, its items, and the events of its stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import UNSET, UnsetType, field

from cactus.server.endpoint import Reply
from cactus.server.openai.replies import Logprob, logprob_of, written
from cactus.server.openai.responses.items import new_id
from cactus.server.usage import Tokens
from cactus.types import Completion, TokenLogprob

Status = Literal["in_progress", "completed", "incomplete", "failed"]


class OutputText(Reply, tag_field="type", tag="output_text", kw_only=True):
    """Text that the model says."""

    text: str
    annotations: list[Any] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)


class ReasoningText(Reply, tag_field="type", tag="reasoning_text", kw_only=True):
    """What the model thinks."""

    text: str


class OutputMessage(Reply, tag_field="type", tag="message", kw_only=True):
    """What the model says."""

    id: str
    role: Literal["assistant"] = "assistant"
    status: Status
    content: list[OutputText]


class ReasoningOutput(Reply, tag_field="type", tag="reasoning", kw_only=True):
    """What the model thinks. It is never summed up, nor encrypted."""

    id: str
    summary: list[Any] = field(default_factory=list)
    content: list[ReasoningText]
    status: Status


class FunctionCall(Reply, tag_field="type", tag="function_call", kw_only=True):
    """A call of a tool; `arguments` are JSON."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: Status


OutputItem = OutputMessage | ReasoningOutput | FunctionCall
Part = OutputText | ReasoningText


class Failure(Reply, kw_only=True):
    """Why a response failed."""

    code: str
    message: str


class Incomplete(Reply, kw_only=True):
    """Why a response is not whole."""

    reason: Literal["max_output_tokens"]


class InputDetails(Reply, kw_only=True):
    """Tokens of the input that were remembered."""

    cached_tokens: int
    cache_write_tokens: int = 0


class OutputDetails(Reply, kw_only=True):
    """Tokens of the output that are reasoning."""

    reasoning_tokens: int


class Usage(Reply, kw_only=True):
    """Tokens that were read and written."""

    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class Response(Reply, kw_only=True):
    """A response, as far as it is."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Status
    background: Literal[False] = False
    error: Failure | None = None
    incomplete_details: Incomplete | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    model: str
    output: list[OutputItem]
    parallel_tool_calls: bool
    previous_response_id: str | None
    reasoning: dict[str, str | None]
    service_tier: Literal["default"] = "default"
    store: bool
    temperature: float
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_logprobs: int
    top_p: float
    truncation: Literal["auto", "disabled"]
    usage: Usage | UnsetType = UNSET
    metadata: dict[str, str]
    user: str | UnsetType = UNSET
    safety_identifier: str | UnsetType = UNSET
    prompt_cache_key: str | UnsetType = UNSET


class Event(Reply, tag_field="type", kw_only=True):
    """Something that happens to a response."""

    sequence_number: int


class _OfResponse(Event, kw_only=True):
    response: Response


class Created(_OfResponse, tag="response.created", kw_only=True):
    """The request is accepted."""


class InProgress(_OfResponse, tag="response.in_progress", kw_only=True):
    """The model works."""


class Completed(_OfResponse, tag="response.completed", kw_only=True):
    """The response is whole."""


class Cut(_OfResponse, tag="response.incomplete", kw_only=True):
    """The response ends before the model has ended it."""


class Failed(_OfResponse, tag="response.failed", kw_only=True):
    """The response ends with an error."""


class _WholeItem(Event, kw_only=True):
    output_index: int
    item: OutputItem


class ItemAdded(_WholeItem, tag="response.output_item.added", kw_only=True):
    """An item begins."""


class ItemDone(_WholeItem, tag="response.output_item.done", kw_only=True):
    """An item is whole."""


class _OfItem(Event, kw_only=True):
    item_id: str
    output_index: int


class _OfPart(_OfItem, kw_only=True):
    content_index: int = 0


class _WholePart(_OfPart, kw_only=True):
    part: Part


class PartAdded(_WholePart, tag="response.content_part.added", kw_only=True):
    """A part of an item begins."""


class PartDone(_WholePart, tag="response.content_part.done", kw_only=True):
    """A part of an item is whole."""


class TextDelta(_OfPart, tag="response.output_text.delta", kw_only=True):
    """More text."""

    delta: str
    logprobs: list[Logprob] = field(default_factory=list)


class TextDone(_OfPart, tag="response.output_text.done", kw_only=True):
    """The text is whole."""

    text: str
    logprobs: list[Logprob] = field(default_factory=list)


class ReasoningDelta(_OfPart, tag="response.reasoning_text.delta", kw_only=True):
    """More of what the model thinks."""

    delta: str


class ReasoningDone(_OfPart, tag="response.reasoning_text.done", kw_only=True):
    """The model has thought."""

    text: str


class ArgumentsDelta(_OfItem, tag="response.function_call_arguments.delta", kw_only=True):
    """More of the arguments of a call."""

    delta: str


class ArgumentsDone(_OfItem, tag="response.function_call_arguments.done", kw_only=True):
    """The arguments of a call are whole."""

    name: str
    arguments: str


AnyEvent = (
    Created
    | InProgress
    | ItemAdded
    | PartAdded
    | TextDelta
    | ReasoningDelta
    | ArgumentsDelta
    | TextDone
    | ReasoningDone
    | ArgumentsDone
    | PartDone
    | ItemDone
    | Completed
    | Cut
    | Failed
)


def usage_of(tokens: Tokens) -> Usage:
    """Tokens as a response counts them."""
    return Usage(
        input_tokens=tokens.prompt,
        input_tokens_details=InputDetails(cached_tokens=tokens.cached),
        output_tokens=tokens.written,
        output_tokens_details=OutputDetails(reasoning_tokens=tokens.reasoning),
        total_tokens=tokens.total,
    )


def output_of(done: Completion, tokens: Sequence[TokenLogprob]) -> list[OutputItem]:
    """The items of a whole answer; the last is not whole where the answer was cut."""
    items: list[OutputItem] = []
    if done.reasoning:
        thought = [ReasoningText(text=done.reasoning)]
        items.append(ReasoningOutput(id=new_id("reasoning"), content=thought, status="completed"))
    if done.text or not (done.reasoning or done.function_calls):
        said = OutputText(text=done.text, logprobs=[logprob_of(each) for each in tokens])
        items.append(OutputMessage(id=new_id("message"), status="completed", content=[said]))
    for id, call in zip(done.call_ids, done.function_calls, strict=True):
        items.append(
            FunctionCall(
                id=new_id("function_call"),
                call_id=id,
                name=call["name"],
                arguments=written(call["arguments"]),
                status="completed",
            )
        )
    if done.finish_reason == "length":
        items[-1].status = "incomplete"
    return items
