"""A session with a server, in a thread with an event loop of its own.

Tools are called from whatever thread or loop a model's answer is made in; a session belongs to one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from contextlib import AbstractAsyncContextManager
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from cactus.errors import ToolServerError
from cactus.inputs.text import cut, reason_of

if TYPE_CHECKING:
    from cactus.agent.mcp.pipe import Trouble

MAX_PAGES = 20
"""Pages of its list of tools that are asked for."""
CLOSE_SECONDS = 15.0
LAST_WORDS_SECONDS = 0.1
"""What a program that ends has written to its standard error may come a little later."""


class Connection:
    """A session: `tools` are the definitions that the server gives."""

    def __init__(
        self,
        name: str,
        transport: AbstractAsyncContextManager[Any],
        trouble: Trouble,
        connect_seconds: float,
        call_seconds: float,
        legacy: bool,
    ) -> None:
        self._name, self._transport, self._trouble = name, transport, trouble
        self._call_seconds, self._legacy = call_seconds, legacy
        self._session: Any = None
        self._ready: concurrent.futures.Future[list[Any]] = concurrent.futures.Future()
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._stop = False
        self._lock = Lock()
        self._over = False  # nothing is given to the loop any more
        self._thread = Thread(target=self._work, name=f"tools of {name}", daemon=True)
        self._thread.start()
        try:
            self.tools = self._ready.result(connect_seconds)
        except concurrent.futures.TimeoutError:
            self.close()
            raise ToolServerError(
                self._told(f"it gave no list of tools within {connect_seconds:g} seconds")
            ) from None
        except BaseException:
            self.close()
            raise

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        """What a tool gives, as the package mcp has it. Raises ToolServerError."""
        with self._lock:
            if self._over:
                raise ToolServerError(self._told("it has ended"))
            work = asyncio.run_coroutine_threadsafe(self._ask(tool, arguments), self._loop)
        try:
            return await asyncio.wrap_future(work)
        except asyncio.CancelledError:
            if self._session is not None:  # it is the caller who was cancelled
                raise
            raise ToolServerError(self._told("it has ended")) from None

    def close(self) -> None:
        """End the session, and the program if one was started; a second call does nothing."""
        with self._lock:
            if not self._over:
                self._loop.call_soon_threadsafe(self._end)
        self._thread.join(CLOSE_SECONDS)

    def _end(self) -> None:
        self._stop = True
        if self._task is not None:
            self._task.cancel()

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            with self._lock:
                self._over = True
            self._loop.run_until_complete(asyncio.sleep(0))  # what was given becomes tasks
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _serve(self) -> None:
        from mcp import Client

        self._task = asyncio.current_task()
        try:
            if self._stop:
                return
            client = Client(self._transport, mode="legacy" if self._legacy else "auto", cache=None)
            async with client:
                tools = await self._listed(client.session)
                self._session = client.session
                self._ready.set_result(tools)
                await asyncio.Event().wait()  # until it is cancelled
        except asyncio.CancelledError:
            if not self._stop:
                raise
        except BaseException as error:
            if self._ready.done():
                self._trouble.fault = self._trouble.fault or _reason(error)
            else:
                self._ready.set_exception(ToolServerError(self._told(_reason(error))))
        finally:
            self._session = None
            if not self._ready.done():
                self._ready.set_exception(ToolServerError(self._told("it was given up")))

    async def _listed(self, session: Any) -> list[Any]:
        # Not by list_tools, after which all results are held against schemas whose patterns may be
        # made to take for ever.
        import mcp.types as types

        found: list[Any] = []
        params = None
        for _ in range(MAX_PAGES):
            page = await session.send_request(
                types.ListToolsRequest(params=params), types.ListToolsResult
            )
            found += page.tools
            if not page.next_cursor:
                return found
            params = types.PaginatedRequestParams(cursor=page.next_cursor)
        raise ToolServerError(f"its list of tools has more than {MAX_PAGES} pages")

    async def _ask(self, tool: str, arguments: dict[str, Any]) -> Any:
        import mcp.types as types

        if self._session is None:
            raise ToolServerError(self._told("it has ended"))
        params = types.CallToolRequestParams(name=tool, arguments=arguments)
        asked = self._session.send_request(
            types.CallToolRequest(params=params),
            types.CallToolResult,
            request_read_timeout_seconds=self._call_seconds + 60,  # by then it was cancelled
        )
        try:
            return await asyncio.wait_for(asked, self._call_seconds)
        except (asyncio.TimeoutError, TimeoutError):
            late = f"{tool} gave no result within {self._call_seconds:g} seconds"
            raise ToolServerError(self._told(late)) from None
        except Exception as error:
            await asyncio.sleep(LAST_WORDS_SECONDS)
            raise ToolServerError(self._told(_reason(error))) from None

    def _told(self, what: str) -> str:
        more = str(self._trouble)
        return f"the tool server {self._name}: {what}" + (f"; {more}" if more else "")


def _reason(error: BaseException) -> str:
    """What an error says: of several at once the first."""
    while getattr(error, "exceptions", None):
        error = error.exceptions[0]  # type: ignore[attr-defined]
    kind = type(error).__name__
    if kind == "ValidationError":  # of what it has sent: long, and about the package's own types
        return "it sent what the protocol does not allow"
    return cut(reason_of(error).strip() or kind, 500)
