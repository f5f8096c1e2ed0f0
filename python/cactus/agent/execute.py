"""Running the calls of one answer: checked, approved, together, and never an exception too many."""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from cactus.agent.results import Approve, ToolCall, ToolResult
from cactus.calls.threads import starting
from cactus.errors import Cancelled, InvalidRequest
from cactus.schemas.functions import Tool
from cactus.schemas.spell import described, spell

if TYPE_CHECKING:
    import asyncio

    from cactus.calls.turns import Call

POLL_SECONDS = 0.05
"""An async tool is looked at this often whether the run was stopped."""


@dataclass(frozen=True)
class Executor:
    """Runs calls of ``tools``.

    ``call`` says whether the run was stopped. ``loop`` is where async tools run; without one each
    gets a loop of its own. ``context``: the caller's context variables, where the run has a thread
    of its own.
    """

    tools: Mapping[str, Tool]
    approve: Approve | None
    raise_errors: bool
    call: Call
    loop: asyncio.AbstractEventLoop | None = None
    context: contextvars.Context | None = None

    def run(self, calls: Sequence[ToolCall]) -> Generator[ToolCall | ToolResult, None, None]:
        """Yields each call before it is run, and each result as it comes.

        Once stopped, nothing more is begun, and what has begun is waited for. A single call runs in
        this thread, several have one each.
        """
        work: dict[int, Callable[[], Any]] = {}
        for index, call in enumerate(calls):
            if self.call.stopped:
                break
            checked = self._checked(call)
            if not isinstance(checked, ToolResult):
                work[index] = checked
                yield call
            else:
                yield checked
        if self.call.stopped:
            return
        found = self._alone if len(work) == 1 else self._together
        for index, value, error in found(work):
            if not (isinstance(error, Cancelled) and self.call.stopped):
                yield self._result(calls[index], value, error)

    def _checked(self, call: ToolCall) -> Callable[[], Any] | ToolResult:
        """The work of a call, or why it is not done."""
        tool = self.tools.get(call.name)
        try:
            if tool is None:
                known = ", ".join(self.tools) or "none"
                raise InvalidRequest(f"there is no tool {call.name}; there are {known}")
            bound = tool.bind(call.arguments)
        except InvalidRequest as error:
            return ToolResult(call, f"Error: {error}", error=error)
        if self.approve is not None:
            answer = self._finished(self.approve(call))
            if not answer or isinstance(answer, str):
                refused = InvalidRequest(answer or "the user did not allow this call")
                return ToolResult(call, f"Error: {refused}", error=refused)
        return lambda: self._finished(tool.function(*bound.args, **bound.kwargs))

    def _result(self, call: ToolCall, value: Any, error: BaseException | None) -> ToolResult:
        try:
            if error is not None:
                raise error
            return ToolResult(call, spell(value), value)
        except Exception as failure:
            if self.raise_errors:
                raise
            return ToolResult(call, f"Error: {described(failure)}", error=failure)

    def _alone(
        self, work: Mapping[int, Callable[[], Any]]
    ) -> Generator[tuple[int, Any, BaseException | None], None, None]:
        for index, run in work.items():
            try:
                value = run() if self.context is None else self.context.copy().run(run)
            except Exception as error:
                yield index, None, error
            else:
                yield index, value, None

    def _together(
        self, work: Mapping[int, Callable[[], Any]]
    ) -> Generator[tuple[int, Any, BaseException | None], None, None]:
        done: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()

        def begin(index: int, context: contextvars.Context, run: Callable[[], Any]) -> None:
            try:
                done.put((index, context.run(run), None))
            except BaseException as error:
                done.put((index, None, error))

        context = self.context or contextvars.copy_context()
        for index, run in work.items():
            # Daemons: whoever interrupts the program does not wait for them.
            with starting():
                Thread(target=begin, args=(index, context.copy(), run), daemon=True).start()
        for _ in work:
            yield done.get()

    def _finished(self, value: Any) -> Any:
        """`value`, or what it comes to if it is to be awaited."""
        if not inspect.isawaitable(value):
            return value
        import asyncio

        waiting = _wait(value, self.call)
        if self.loop is not None:
            return asyncio.run_coroutine_threadsafe(waiting, self.loop).result()
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return asyncio.run(waiting)
        # A loop runs in this thread and cannot run another one: a notebook.
        found: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

        def work() -> None:
            try:
                found.put((asyncio.run(waiting), None))
            except BaseException as error:
                found.put((None, error))

        with starting():
            Thread(target=work, daemon=True).start()
        result, error = found.get()
        if error is not None:
            raise error
        return result


async def _wait(value: Awaitable[Any], call: Call) -> Any:
    """What `value` comes to; it is cancelled when the run is stopped. Raises Cancelled then."""
    import asyncio

    task = asyncio.ensure_future(value)
    while not (await asyncio.wait([task], timeout=POLL_SECONDS))[0]:
        if call.stopped:
            task.cancel()
    if task.cancelled():
        raise Cancelled("the run was stopped while a tool was running")
    return task.result()
