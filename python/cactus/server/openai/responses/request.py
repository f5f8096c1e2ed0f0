"""The body of ``/v1/responses``, and what of it is asked of a model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from cactus.inputs.checks import short
from cactus.server.endpoint import Ask, Body
from cactus.server.errors import ApiError
from cactus.server.openai.asked import Share, Temperature
from cactus.server.openai.messages import Turn, urls_in
from cactus.server.openai.request import (
    Effort,
    Metadata,
    Tier,
    chosen_tools,
    most_tokens,
    thinking_for,
)
from cactus.server.openai.responses.items import Item, items_of, turns_of
from cactus.server.openai.responses.store import Store
from cactus.server.params import invalid, refused, without_effect
from cactus.server.questions import Question, sampling

if TYPE_CHECKING:
    from cactus.model import Model

Include = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]


class Reasoning(Body, kw_only=True):
    """Whether the model is to think: not for an effort of "none" or "minimal"."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class TextOptions(Body, kw_only=True):
    """The form of the answer."""

    format: dict[str, Any] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ResponseRequest(Body, kw_only=True):
    """What is asked. Tools that are not functions are ignored, and fields that are not listed."""

    input: str | list[dict[str, Any]] | None = None
    model: str | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    store: bool | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: Reasoning | None = None
    include: list[Include] | None = None
    truncation: Literal["auto", "disabled"] | None = None
    # What is accepted and changes no answer.
    metadata: Metadata | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Tier | None = None
    max_tool_calls: int | None = None
    # What is refused, because it would change nothing.
    background: bool | None = None
    conversation: Any = None
    prompt: Any = None
    context_management: Any = None
    moderation: Any = None


WITHOUT_EFFECT: Mapping[str, str] = {
    "conversation": "conversations are not kept; give previous_response_id",
    "prompt": "prompts are not kept; give instructions and input",
    "context_management": "give truncation: 'auto'",
    "moderation": "this server does not moderate",
}


def check(body: ResponseRequest) -> None:
    """Refuse what would be without effect. Raises ApiError naming the field."""
    without_effect({name: getattr(body, name) for name in WITHOUT_EFFECT}, WITHOUT_EFFECT)
    if body.background:
        raise invalid("responses are made while you wait", "background", "unsupported_parameter")
    if body.text is not None and body.text.verbosity in ("low", "high"):
        raise invalid(
            "this server has no such switch; say in the instructions how long answers should be",
            "text.verbosity",
            "unsupported_parameter",
        )


def conversation_of(ask: Ask[ResponseRequest], store: Store) -> list[Item]:
    """All items that the response is made from. Raises ApiError naming what is not there."""
    body = ask.body
    before: list[Item] = []
    if body.previous_response_id is not None:
        kept = store.get(ask.tenant, body.previous_response_id)
        if kept is None:
            raise ApiError(
                400,
                f"there is no response {short(body.previous_response_id)}: it was not stored, was "
                "deleted, or had to go because others needed the room; send the conversation",
                code="previous_response_not_found",
                param="previous_response_id",
            )
        before = kept.items
    items = [] if body.input is None else items_of(body.input)
    references = {n: item["id"] for n, item in enumerate(items) if item["type"] == "item_reference"}
    found = store.items(ask.tenant, set(references.values()))
    for index, id in references.items():
        if id not in found:
            raise invalid(f"there is no item {short(id)}", f"input[{index}].id")
        items[index] = found[id]
    if not before and not items:
        raise invalid("expected a text or at least one item", "input")
    return [*before, *items]


async def question_of(ask: Ask[ResponseRequest], model: Model, items: list[Item]) -> Question:
    """What is asked of the model. Raises ApiError naming the field."""
    body = ask.body
    turns = await turns_of(ask.service, items)
    if body.instructions:
        turns = with_instructions(body.instructions, turns)
    tools, names = functions(body.tools or [])
    chosen, choice = chosen_tools(tools, body.tool_choice, name_at="tool_choice.name")
    form, called = form_of(body.text)
    logprobs = "message.output_text.logprobs" in (body.include or ())
    options: dict[str, Any] = {
        "max_tokens": most_tokens(model, body.max_output_tokens),
        "sampling": sampling(body.temperature),
        "temperature": body.temperature,
        "top_p": body.top_p,
        "logprobs": logprobs or bool(body.top_logprobs) or None,
        "top_logprobs": body.top_logprobs,
        "tools": chosen,
        "tool_choice": choice,
        "parallel_tool_calls": body.parallel_tool_calls,
        "response_format": form,
        "thinking": thinking_for(model, None if body.reasoning is None else body.reasoning.effort),
    }
    if urls_in(turns) and ask.service.settings.image_urls:
        options["allow_image_urls"] = True
    names |= {"messages": "input", "thinking": "reasoning.effort", **called}
    if body.truncation == "auto":
        turns = await fitting(model, turns, options, names)
    return Question(turns, options, names=names)


def with_instructions(instructions: str, turns: list[Turn]) -> list[Turn]:
    """The messages with instructions before what they tell the model to be."""
    told: Turn = {"role": "system", "content": instructions}
    first = turns[0] if turns else {"role": ""}
    if first["role"] == "system" and isinstance(first["content"], str):
        told["content"] += f"\n\n{first['content']}"
        turns = turns[1:]
    return [told, *turns]


def functions(tools: Sequence[Any]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The tools that are functions, and where they stood; others are for other servers."""
    found: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for index, tool in enumerate(tools):
        if tool.get("type", "function") == "function":
            names[f"tools[{len(found)}]"] = f"tools[{index}]"
            found.append({key: value for key, value in tool.items() if value is not None})
    return found, names


def form_of(text: TextOptions | None) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """The form of the answer as a model takes it, and what its parts are called here."""
    form = None if text is None else text.format
    if form is None or form.get("type") != "json_schema":
        return form, {"response_format": "text.format"}
    named = {key: form[key] for key in ("name", "schema", "strict") if key in form}
    names = {
        "response_format.json_schema": "text.format",
        "response_format": "text.format",
    }
    return {"type": "json_schema", "json_schema": named}, names


async def fitting(
    model: Model, turns: list[Turn], options: Mapping[str, Any], names: Mapping[str, str]
) -> list[Turn]:
    """The messages without the oldest ones that do not fit: never the system's, nor the last."""
    context = model.context_length
    room = context - min(options["max_tokens"], context // 4)
    told = {name: options[name] for name in ("tools", "tool_choice", "thinking")}
    start = 1 if turns and turns[0]["role"] == "system" else 0
    # A result without its call would be a riddle.
    cuts = [n for n in range(start, len(turns)) if n == start or turns[n]["role"] != "tool"]
    low, high = 0, len(cuts) - 1
    try:
        while low < high:
            middle = (low + high) // 2
            shorter = [*turns[:start], *turns[cuts[middle] :]]
            if await asyncio.to_thread(model.count_tokens, shorter, **told) <= room:
                high = middle
            else:
                low = middle + 1
    except Exception as error:
        raise refused(error, names) from None
    return [*turns[:start], *turns[cuts[low] :]] if cuts else turns
