"""The endpoints of responses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Literal

from msgspec import UNSET
from starlette.responses import Response as HttpResponse

from cactus.inputs.checks import short
from cactus.server.endpoint import Ask, Endpoint, Reply, Stream, encode, sse
from cactus.server.errors import ApiError
from cactus.server.openai.errors import DIALECT
from cactus.server.openai.responses import objects
from cactus.server.openai.responses.items import Item, resource
from cactus.server.openai.responses.objects import AnyEvent, Event, OutputItem, Response
from cactus.server.openai.responses.request import (
    ResponseRequest,
    check,
    conversation_of,
    functions,
    question_of,
)
from cactus.server.openai.responses.store import store_of
from cactus.server.openai.responses.stream import Writer
from cactus.server.params import invalid
from cactus.server.questions import answer, streamed
from cactus.server.usage import tokens_of
from cactus.server.work import told_error

if TYPE_CHECKING:
    from cactus.model import Model
    from cactus.types import Completion

MOST_LISTED = 100


class Deleted(Reply, kw_only=True):
    """What says that a response is forgotten."""

    id: str
    object: Literal["response"] = "response"
    deleted: Literal[True] = True


class ItemList(Reply, kw_only=True):
    """The items that a response was made from."""

    object: Literal["list"] = "list"
    data: list[Item]
    first_id: str
    last_id: str
    has_more: bool


class InputTokens(Reply, kw_only=True):
    """How many tokens a request has."""

    object: Literal["response.input_tokens"] = "response.input_tokens"
    input_tokens: int


async def create(ask: Ask[ResponseRequest]) -> HttpResponse | Stream:
    """Make a response."""
    check(ask.body)
    items = conversation_of(ask, store_of(ask.service))
    if ask.body.stream:
        return Stream(_events(ask, items))
    async with ask.service.use(ask.body.model, "chat") as model:
        question = await question_of(ask, model, items)
        response = _begun(ask, model)
        (found,) = await answer(model, question)
        _end(response, model, found.done, objects.output_of(found.done, found.tokens))
        return HttpResponse(_kept(ask, items, response), media_type="application/json")


async def _events(ask: Ask[ResponseRequest], items: list[Item]) -> AsyncGenerator[bytes, None]:
    writer = Writer()
    async with ask.service.use(ask.body.model, "chat") as model:
        question = await question_of(ask, model, items)
        response = _begun(ask, model)
        begun = False
        try:
            async with aclosing(streamed(model, question)) as pieces:
                async for piece in pieces:
                    if piece.kind == "begin":
                        begun = True
                        yield _sse(writer.of_response(objects.Created, response))
                        yield _sse(writer.of_response(objects.InProgress, response))
                    for event in writer.read(piece):
                        yield _sse(event)
                    if piece.done is not None:
                        _end(response, model, piece.done, writer.output)
        except Exception as error:
            if not begun:
                raise
            response.status, response.output = "failed", writer.output
            response.error = objects.Failure(code="server_error", message=told_error(error).message)
            yield _sse(writer.of_response(objects.Failed, response))
            return
        _kept(ask, items, response)
        last = objects.Cut if response.status == "incomplete" else objects.Completed
        yield _sse(writer.of_response(last, response))


def _sse(event: Event) -> bytes:
    return sse(event, str(event.__struct_config__.tag))


def _begun(ask: Ask[ResponseRequest], model: Model) -> Response:
    """The response, of which nothing is there yet."""
    body = ask.body
    defaults = model.sampling_defaults
    greedy = body.temperature == 0
    tools = [_shown(tool) for tool in functions(body.tools or [])[0]]
    form = body.text.format if body.text is not None and body.text.format else {"type": "text"}
    effort = body.reasoning.effort if body.reasoning is not None else None
    return Response(
        id=f"resp_{token_hex(24)}",
        created_at=int(time.time()),
        status="in_progress",
        instructions=body.instructions,
        max_output_tokens=body.max_output_tokens,
        max_tool_calls=body.max_tool_calls,
        model=body.model or model.name,
        output=[],
        parallel_tool_calls=body.parallel_tool_calls is not False,
        previous_response_id=body.previous_response_id,
        reasoning={"effort": effort, "summary": None},
        store=body.store is not False,
        temperature=defaults.temperature if body.temperature is None else body.temperature,
        text={"format": form},
        tool_choice=body.tool_choice or "auto",
        tools=tools,
        top_logprobs=body.top_logprobs or 0,
        top_p=(1.0 if greedy else defaults.top_p) if body.top_p is None else body.top_p,
        truncation=body.truncation or "disabled",
        metadata=body.metadata or {},
        user=UNSET if body.user is None else body.user,
        safety_identifier=UNSET if body.safety_identifier is None else body.safety_identifier,
        prompt_cache_key=UNSET if body.prompt_cache_key is None else body.prompt_cache_key,
    )


def _shown(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool as the response repeats it."""
    named = {**tool.get("function", {}), **tool}
    named.pop("function", None)
    empty = {"type": "object", "properties": {}}
    return {"parameters": empty, "strict": False, **named, "type": "function"}


def _end(response: Response, model: Model, done: Completion, output: list[OutputItem]) -> None:
    response.output = output
    response.usage = objects.usage_of(tokens_of(model, [done]))
    response.completed_at = int(time.time())
    response.status = "completed"
    if done.finish_reason == "length":
        response.status, response.completed_at = "incomplete", None
        response.incomplete_details = objects.Incomplete(reason="max_output_tokens")


def _kept(ask: Ask[ResponseRequest], items: list[Item], response: Response) -> bytes:
    """The response as JSON; it is kept, unless the request says not."""
    written = encode(response)
    if response.store:
        store_of(ask.service).keep(ask.tenant, response.id, written, items)
    return written


async def retrieve(ask: Ask[None]) -> HttpResponse:
    """A response that is kept. Raises ApiError 404."""
    if ask.request.query_params.get("stream", "false") == "true":
        raise invalid("a response that is kept is sent whole", "stream", "unsupported_parameter")
    found = store_of(ask.service).find(ask.tenant, ask.request.path_params["response_id"])
    return HttpResponse(found.reply, media_type="application/json")


async def delete(ask: Ask[None]) -> Deleted:
    """Forget a response. Raises ApiError 404."""
    id = ask.request.path_params["response_id"]
    store_of(ask.service).delete(ask.tenant, id)
    return Deleted(id=id)


async def input_items(ask: Ask[None]) -> ItemList:
    """What a response was made from, the last item first. Raises ApiError."""
    query = ask.request.query_params
    found = store_of(ask.service).find(ask.tenant, ask.request.path_params["response_id"])
    limit, order = query.get("limit", "20"), query.get("order", "desc")
    if not (limit.isdecimal() and limit.isascii() and 1 <= int(limit[:9]) <= MOST_LISTED):
        raise invalid(f"expected 1 to {MOST_LISTED}, got {short(limit)}", "limit")
    if order not in ("asc", "desc"):
        raise invalid(f"expected 'asc' or 'desc', got {short(order)}", "order")
    items = found.input if order == "asc" else found.input[::-1]
    after = query.get("after")
    if after is not None:
        place = next((n for n, item in enumerate(items) if item["id"] == after), None)
        if place is None:
            raise invalid(f"there is no item {short(after)}", "after")
        items = items[place + 1 :]
    shown = [resource(item) for item in items[: int(limit)]]
    return ItemList(
        data=shown,
        first_id=shown[0]["id"] if shown else "",
        last_id=shown[-1]["id"] if shown else "",
        has_more=len(items) > len(shown),
    )


async def cancel(ask: Ask[None]) -> None:
    """Refused: only responses that are made in the background could be cancelled."""
    store_of(ask.service).find(ask.tenant, ask.request.path_params["response_id"])
    raise ApiError(
        400,
        "only responses that are made in the background can be cancelled; close the connection "
        "to end one that is being made",
        code="unsupported_parameter",
    )


async def input_tokens(ask: Ask[ResponseRequest]) -> InputTokens:
    """How many tokens the prompt of a request has; nothing is made."""
    check(ask.body)
    items = conversation_of(ask, store_of(ask.service))
    async with ask.service.use(ask.body.model, "chat") as model:
        question = await question_of(ask, model, items)
        told = {name: question.options[name] for name in ("tools", "tool_choice", "thinking")}
        count = await asyncio.to_thread(model.count_tokens, question.prompt, **told)
        return InputTokens(input_tokens=count)


_ONE = "/v1/responses/{response_id}"

ENDPOINTS = [
    Endpoint(
        "POST",
        "/v1/responses",
        create,
        DIALECT,
        "Make a response.",
        body=ResponseRequest,
        reply=Response,
        event=AnyEvent,
        errors=(404, 413, 415, 429, 503),
        tag="responses",
    ),
    Endpoint(
        "POST",
        "/v1/responses/input_tokens",
        input_tokens,
        DIALECT,
        "Count the tokens of a request for a response.",
        body=ResponseRequest,
        reply=InputTokens,
        errors=(404, 413, 415, 429, 503),
        tag="responses",
    ),
    Endpoint(
        "GET",
        _ONE,
        retrieve,
        DIALECT,
        "Show a response.",
        reply=Response,
        errors=(404,),
        tag="responses",
    ),
    Endpoint(
        "DELETE",
        _ONE,
        delete,
        DIALECT,
        "Forget a response.",
        reply=Deleted,
        errors=(404,),
        tag="responses",
    ),
    Endpoint(
        "GET",
        f"{_ONE}/input_items",
        input_items,
        DIALECT,
        "List what a response was made from.",
        reply=ItemList,
        errors=(404,),
        tag="responses",
    ),
    Endpoint(
        "POST",
        f"{_ONE}/cancel",
        cancel,
        DIALECT,
        "Cancel a response that is made in the background, which none is.",
        errors=(404,),
        tag="responses",
    ),
]
