"""Tools of the server's own, run where the model calls them, and what a client sees of it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from cactus.server.pieces import Piece, Reader
from cactus.types import Completion, StreamEvent

if TYPE_CHECKING:
    from cactus.agent.results import ToolCall, ToolResult, ToolRun
    from cactus.model import Model


async def run_functions(
    model: Model,
    prompt: Any,
    options: Mapping[str, Any],
    functions: Sequence[Callable[..., Any]],
    choice: int,
) -> AsyncGenerator[Piece, None]:
    """The pieces of an answer for which the server's functions are run."""
    tools = [*map(_contained, functions), *(options.get("tools") or ())]
    told: Any = {**options, "tools": tools}
    reader = Reader(choice, live=False)
    async with model.arun_tools_stream(prompt, **told) as stream:
        yield Piece(choice, "begin")
        async for event in stream:
            if event.kind == "text" or event.kind == "reasoning":
                said = StreamEvent(event.text, -1, event.kind, event.logprob)
                for piece in reader.read(said):
                    yield piece
            elif event.result is not None:
                yield Piece(choice, "tool", state=_told(event.result.call, event.result))
            elif event.call is not None:
                yield Piece(choice, "tool", tokens=reader.rest(), state=_told(event.call))
    run = stream.result
    for index, call in enumerate(run.pending):
        yield Piece(choice, "call", number=index, id=call.id, name=call.name)
        text = json.dumps(call.arguments, ensure_ascii=False)
        yield Piece(choice, "arguments", text, number=index, id=call.id)
    yield Piece(choice, "end", tokens=reader.rest(), done=_whole(run))


def _contained(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose ``sys.exit`` ends its call and not the server."""

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        with _containing():
            value = function(*arguments, **named)
        return _waited(value) if isawaitable(value) else value

    return call


async def _waited(value: Awaitable[Any]) -> Any:
    with _containing():
        return await value


@contextmanager
def _containing() -> Iterator[None]:
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as error:
        raise RuntimeError(f"it ended itself with {error!r}") from None


def _told(call: ToolCall, result: ToolResult | None = None) -> dict[str, Any]:
    """What a client sees of a call."""
    state, text = "running", None
    if result is not None:
        state, text = "done" if result.error is None else "failed", result.text
    return {
        "id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "state": state,
        "result": text,
    }


def _whole(run: ToolRun) -> Completion:
    """The last answer, with the cost of all, and the calls that are left to the client."""
    steps = [step.completion for step in run.steps]
    last = steps[-1]
    calls = tuple({"name": call.name, "arguments": call.arguments} for call in run.pending)
    metrics = replace(last.metrics, decode_tokens=sum(s.metrics.decode_tokens for s in steps))
    return replace(
        last,
        text="".join(step.text for step in steps),
        function_calls=calls,
        call_ids=tuple(call.id for call in run.pending),
        finish_reason="tool_calls" if calls else _reason(run),
        metrics=metrics,
    )


def _reason(run: ToolRun) -> Any:
    return "length" if run.finish_reason == "max_steps" else run.finish_reason
