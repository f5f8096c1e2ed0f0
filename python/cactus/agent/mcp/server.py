"""The tools of an MCP server, for a model to call."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from cactus.agent.mcp.results import text_of
from cactus.calls.closing import Closing
from cactus.chat.tools import validate_tools
from cactus.errors import InvalidRequest, ToolServerError
from cactus.inputs.checks import number, short
from cactus.inputs.text import cut
from cactus.schemas.functions import Tool

MAX_TOOLS = 256
MAX_DEFINITION = 64 << 10
"""Characters of the definition of a tool, all of which a model reads."""


class ToolServer(Closing):
    """A server of tools that speaks MCP: a program that is started here, or one at an address.

    `target`: a command with its arguments, as a text or a list, or an http(s) URL. `tools` are for
    ``Model.run_tools``. A program gets of the environment what every program needs, and `env`; it
    ends with this. `connect_timeout` and `call_timeout` are seconds; `legacy`: speak the protocol
    as it was before 2026, also with a server that knows the newer one. `skipped` says which tools
    were left out, and why.

    Raises ToolServerError where it cannot be started or reached, or breaks the protocol.
    """

    def __init__(
        self,
        target: str | Sequence[str],
        *,
        connect_timeout: float = 30.0,
        call_timeout: float = 120.0,
        env: Mapping[str, str] | None = None,
        legacy: bool = False,
    ) -> None:
        connect = number("connect_timeout", connect_timeout, 0.001, 86_400)
        call = number("call_timeout", call_timeout, 0.001, 86_400)
        command = _command(target)
        _check_installed()
        from cactus.agent.mcp.connection import Connection
        from cactus.agent.mcp.pipe import Trouble, pipe
        from cactus.agent.mcp.web import web

        trouble = Trouble()
        if isinstance(command, str):
            self.name = command
            transport = web(command, call)
        else:
            self.name = cut(shlex.join(command), 100)
            transport = pipe(command, trouble, env or {})
        self._connection = Connection(self.name, transport, trouble, connect, call, legacy)
        self.skipped: dict[str, str] = {}
        self.tools: list[Tool] = []
        for each in self._connection.tools:
            try:
                self._add(each)
            except InvalidRequest as error:
                self.skipped[cut(str(each.name), 128)] = str(error)

    def __repr__(self) -> str:
        return f"<ToolServer {self.name}: {', '.join(tool.name for tool in self.tools)}>"

    def close(self) -> None:
        """End the session, and the program if one was started."""
        self._connection.close()

    def _add(self, given: Any) -> None:
        if len(self.tools) == MAX_TOOLS:
            raise InvalidRequest(f"a server may have {MAX_TOOLS} tools at most")
        if any(tool.name == given.name for tool in self.tools):
            raise InvalidRequest("an earlier tool has the same name")
        size = len(str(given.description or "")) + len(str(given.input_schema))
        if size > MAX_DEFINITION:
            raise InvalidRequest(
                f"its definition has {size:,} characters; at most {MAX_DEFINITION:,} are shown to "
                "a model"
            )
        self.tools.append(RemoteTool(given, self._connection))


class RemoteTool(Tool):
    """A tool that a server runs. Arguments are sent as the model has written them."""

    def __init__(self, given: Any, connection: Any) -> None:
        self.name: str = given.name
        self.description: str = given.description or ""
        function = {
            "name": given.name,
            "description": self.description,
            "parameters": dict(given.input_schema),
        }
        checked = validate_tools([{"type": "function", "function": function}])[0]
        self.parameters = checked["function"]["parameters"]
        self._connection = connection
        self.function = self._run

    def __repr__(self) -> str:
        return f"<RemoteTool {self.name}>"

    def bind(self, arguments: Mapping[str, Any]) -> inspect.BoundArguments:
        """The arguments as `function` takes them; whether they fit is the server's to say."""
        return inspect.signature(self._run).bind(dict(arguments))

    async def _run(self, arguments: dict[str, Any]) -> str:
        return text_of(await self._connection.call(self.name, arguments))


def tools_together(servers: Sequence[ToolServer], taken: Sequence[str] = ()) -> list[Tool]:
    """The tools of several servers.

    Raises InvalidRequest where two tools have one name, or one of those that are `taken`.
    """
    homes: dict[str, str] = dict.fromkeys(taken, "your own functions")
    found = []
    for server in servers:
        for tool in server.tools:
            if tool.name in homes:
                raise InvalidRequest(
                    f"the tool {tool.name} is in {server.name}, and in {homes[tool.name]}, too; a "
                    "model needs names that differ: leave one of the servers out"
                )
            homes[tool.name] = server.name
            found.append(tool)
    return found


def _command(target: str | Sequence[str]) -> str | list[str]:
    """An address as it is, else the words of a command. Raises InvalidRequest."""
    if isinstance(target, str):
        if target.startswith(("http://", "https://")):
            return target
        try:
            words = shlex.split(target)
        except ValueError as error:
            raise InvalidRequest(
                f"the command of a tool server: {error}: {short(target, 200)}"
            ) from None
    else:
        words = [str(word) for word in target]
    if not words or any("\0" in word for word in words):
        raise InvalidRequest(
            f"expected a command or an http(s) address of a tool server, got {short(target, 200)}"
        )
    return words


def _check_installed() -> None:
    from importlib.util import find_spec

    if find_spec("mcp") is None:
        raise ToolServerError(
            "tools of other programs need the package mcp: pip install 'cactus[mcp]'"
        )
