"""The methods of `Model` that run tools: the public form of the loop."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from cactus.agent.results import Approve, ToolEvent, ToolRun
from cactus.calls.aio import AsyncEventStream, run_alone
from cactus.calls.stream import EventStream
from cactus.calls.turns import Call
from cactus.compat import Unpack
from cactus.errors import InvalidRequest
from cactus.generate.chat import Messages
from cactus.generate.methods import ChatMethods
from cactus.generate.options import ChatOptions
from cactus.inputs.checks import boolean, integer

if TYPE_CHECKING:
    import asyncio

    from cactus.agent.run import ToolsRun


class ToolStream(EventStream[ToolEvent]):
    """The events of one run; `result` is there once the stream has ended or was closed."""

    def __init__(self, run: ToolsRun) -> None:
        self._tools_run = run
        super().__init__(run)

    @property
    def result(self) -> ToolRun:
        """All of it. Raises InvalidRequest while the stream is still running or failed."""
        return _result_of(self._tools_run)


class AsyncToolStream(AsyncEventStream[ToolEvent]):
    """The events of one run for ``async for``; `result` is there once it has ended."""

    def __init__(self, start: Callable[[Call], ToolsRun]) -> None:
        self._tools_run: ToolsRun | None = None

        def begin(call: Call) -> ToolsRun:
            self._tools_run = start(call)
            return self._tools_run

        super().__init__(begin)

    @property
    def result(self) -> ToolRun:
        """All of it. Raises InvalidRequest while the stream is still running or failed."""
        return _result_of(self._tools_run)


def _result_of(run: ToolsRun | None) -> ToolRun:
    result = None if run is None else run.result
    if result is None:
        raise InvalidRequest("the stream has no result: it has not been read to its end")
    return result


class ToolMethods(ChatMethods):
    """The methods of a model that calls functions."""

    def run_tools(
        self,
        messages: Messages,
        *,
        max_steps: int = 8,
        approve: Approve | None = None,
        raise_errors: bool = False,
        **options: Unpack[ChatOptions],
    ) -> ToolRun:
        """Answer `messages`, running the Python functions that the model calls, until it is done.

        Only what is in the option `tools` is ever run. A definition in it that is not a function is
        the caller's to run: the run ends where the model calls it. Arguments are checked against
        the function's signature and built into the declared types. What goes wrong in a call is
        told to the model, which may try again; with `raise_errors` what a function raises is
        raised. Several calls of one answer run together, in threads of their own; a single one runs
        in the caller's. `approve(call)` is asked before each call; false, or a text that says why,
        refuses it. At most `max_steps` answers are asked for; `finish_reason` says where that was
        not enough. A forced `tool_choice` holds for the first answer. `options` are those of
        `chat`, and so are the errors.
        """
        return self._tools_run(Call(), messages, max_steps, approve, raise_errors, options).run()

    def run_tools_stream(
        self,
        messages: Messages,
        *,
        max_steps: int = 8,
        approve: Approve | None = None,
        raise_errors: bool = False,
        **options: Unpack[ChatOptions],
    ) -> ToolStream:
        """`run_tools` as an iterator: pieces of text, calls and results, as they come.

        Read it to its end or close it (it is a context manager): an open stream keeps its memory.
        """
        return ToolStream(
            self._tools_run(Call(), messages, max_steps, approve, raise_errors, options)
        )

    async def arun_tools(
        self,
        messages: Messages,
        *,
        max_steps: int = 8,
        approve: Approve | None = None,
        raise_errors: bool = False,
        **options: Unpack[ChatOptions],
    ) -> ToolRun:
        """`run_tools` in a thread of its own; async functions run in the caller's event loop.

        Cancelling the task stops the generation and cancels async functions; the others are waited
        for.
        """
        where = _where()
        return await run_alone(
            lambda call: self._tools_run(
                call, messages, max_steps, approve, raise_errors, options, where
            ).run()
        )

    def arun_tools_stream(
        self,
        messages: Messages,
        *,
        max_steps: int = 8,
        approve: Approve | None = None,
        raise_errors: bool = False,
        **options: Unpack[ChatOptions],
    ) -> AsyncToolStream:
        """`run_tools_stream` for ``async for``."""
        where = _where()
        return AsyncToolStream(
            lambda call: self._tools_run(
                call, messages, max_steps, approve, raise_errors, options, where
            )
        )

    def _tools_run(
        self,
        call: Call,
        messages: Messages,
        max_steps: int,
        approve: Approve | None,
        raise_errors: bool,
        options: Mapping[str, Any],
        where: tuple[asyncio.AbstractEventLoop | None, contextvars.Context | None] = (None, None),
    ) -> ToolsRun:
        from cactus.agent.execute import Executor
        from cactus.agent.run import ToolsRun, tools_of
        from cactus.chat.messages import message_list

        chat = self._chat()
        definitions, functions, others = tools_of(options.get("tools"))
        if approve is not None and not callable(approve):
            raise InvalidRequest(f"approve must be a function, got {type(approve).__name__}")
        executor = Executor(
            functions, approve, boolean("raise_errors", raise_errors), call, where[0], where[1]
        )
        return ToolsRun(
            self._turns,
            chat.generation,
            executor,
            others,
            message_list(messages),
            integer("max_steps", max_steps, 1),
            {**options, "tools": definitions},
        )


def _where() -> tuple[asyncio.AbstractEventLoop | None, contextvars.Context]:
    """The event loop and the context variables of an async caller."""
    import asyncio

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    return loop, contextvars.copy_context()
