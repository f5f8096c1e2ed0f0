"""An MCP server around the tools: over standard input and output, or over HTTP on this machine."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from cactus import __version__
from cactus.errors import CactusError, InvalidRequest
from cactus.mcp.tools import Tools

HOST = "127.0.0.1"
PATH = "/mcp"
MAX_BODY = 4 << 20

INSTRUCTIONS = (
    "Models that run on this machine: nothing that is given to these tools leaves it. "
    "Files are named by their paths below the folders that are served."
)


def build(tools: Tools) -> MCPServer[Any]:
    """The server of these tools. Raises InvalidRequest where there is none."""
    functions = tools.functions
    if not functions:
        raise InvalidRequest(
            "there is no tool to serve: no model on this machine transcribes, looks at images, or "
            "makes vectors, and there is no --docs; cactus list shows models that can"
        )

    @asynccontextmanager
    async def lifespan(_: MCPServer[Any]) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await tools.close()

    server: MCPServer[Any] = MCPServer(
        "cactus",
        title="Cactus",
        instructions=INSTRUCTIONS,
        version=__version__,
        log_level="WARNING",
        lifespan=lifespan,
    )
    for function in functions:
        server.add_tool(
            _told(function),
            annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False),
        )
    return server


def run_stdio(tools: Tools) -> None:
    """Serve whoever started this process, until the input ends."""
    build(tools).run("stdio")


def run_http(tools: Tools, port: int) -> None:
    """Serve programs of this machine at ``http://127.0.0.1:PORT/mcp`` until it is interrupted."""
    build(tools).run(
        "streamable-http",
        host=HOST,
        port=port,
        streamable_http_path=PATH,
        stateless_http=True,
        max_request_body_size=MAX_BODY,
    )


def _told(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The function with errors as the client's model is to read them."""

    @functools.wraps(function)
    async def told(*args: Any, **kwargs: Any) -> Any:
        try:
            return await function(*args, **kwargs)
        except (CactusError, OSError) as error:
            raise ToolError(str(error)) from None

    return told
