"""Tools of other programs: they work, and whatever such a program does wrong hurts nothing."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from cactus import Model, ToolServer
from cactus.agent.mcp import connection
from cactus.agent.mcp.server import tools_together
from cactus.errors import InvalidRequest, ToolServerError
from tests.generate.scripted import END

HOSTILE = str(Path(__file__).with_name("hostile.py"))
Make = Callable[..., Model]


def start(how: str = "good", **options: Any) -> ToolServer:
    return ToolServer([sys.executable, HOSTILE, how], **options)


def call(server: ToolServer, name: str = "echo", **arguments: Any) -> str:
    tool = next(tool for tool in server.tools if tool.name == name)
    bound = tool.bind(arguments or {"text": "Hi"})
    return asyncio.run(tool.function(*bound.args, **bound.kwargs))


def calling(*answers: str) -> Callable[[list[int], int], int]:
    """A script that gives one answer after another: the n-th after n results of tools."""

    def script(history: list[int], answered: int) -> int:
        asked = bytes(token for token in history[: len(history) - answered] if token < 256)
        text = answers[min(asked.count(b"\na:") - 1, len(answers) - 1)].encode()
        return text[answered] if answered < len(text) else END

    return script


CALL = f"<tool_call>{json.dumps({'name': 'echo', 'arguments': {'text': 'Hi'}})}</tool_call>"


def test_a_model_calls_the_tools_of_a_server(scripted_model: Make) -> None:
    model = scripted_model(calling(CALL, "Done."), context=20_000, chunk=512)
    with start() as server:
        assert [tool.name for tool in server.tools] == ["echo"]
        assert server.tools[0].parameters["required"] == ["text"]
        run = model.run_tools("Say it", tools=server.tools)
        assert run.text == "Done." and run.results[0].text == "echo: Hi"
        asked = []
        model.run_tools("Again", tools=server.tools, approve=asked.append)
        assert asked and asked[0].name == "echo"

        async def streamed() -> Any:
            async with model.arun_tools_stream("And so", tools=server.tools) as stream:
                return [event.result.text async for event in stream if event.result]

        assert asyncio.run(streamed()) == ["echo: Hi"]


def test_a_run_that_is_stopped_does_not_wait_for_a_tool(scripted_model: Make) -> None:
    model = scripted_model(calling(CALL), context=20_000, chunk=512)
    with start("hangs") as server:
        timer = threading.Timer(0.5, model.stop)
        timer.start()
        run = model.run_tools("Say it", tools=server.tools)
        assert run.finish_reason == "cancelled"


@pytest.mark.parametrize("legacy", [False, True])
def test_a_server_at_an_address(legacy: bool, at_address: str) -> None:
    with ToolServer(at_address, legacy=legacy) as server:
        assert [tool.name for tool in server.tools] == ["add", "fail", "flood"]
        assert call(server, "add", a=1, b=2) == "3"
        with pytest.raises(ToolServerError, match="no luck"):
            call(server, "fail", x="")
        with pytest.raises(ToolServerError):
            call(server, "add", a="one")
        with pytest.raises(ToolServerError):
            call(server, "flood", x="")  # and the next call is answered
        assert call(server, "add", a=3, b=4) == "7"


@pytest.fixture
def at_address() -> Iterator[str]:
    """The address of a server of the package's own."""
    mcp = MCPServer("sums", log_level="CRITICAL")

    @mcp.tool()
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    @mcp.tool()
    def fail(x: str) -> str:
        """Fail."""
        raise ToolError("no luck")

    @mcp.tool()
    def flood(x: str) -> str:
        """Say too much."""
        return "x" * (20 << 20)

    app = mcp.streamable_http_app(stateless_http=True)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.005)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/mcp"
    server.should_exit = True
    thread.join(20)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("dies", "out of luck"),
        ("hangs", "within 1 second"),
        ("floods line", "a message of more than"),
        ("floods messages", "messages unasked"),
        ("long", "300,000 characters"),
        ("fails", "the disk is full"),
        ("nonsense", "what the protocol does not allow"),
    ],
)
def test_what_goes_wrong_in_a_call_is_an_error_that_says_what(how: str, says: str) -> None:
    with start(how, call_timeout=1.0 if how == "hangs" else 60.0) as server:
        with pytest.raises(ToolServerError) as caught:
            call(server)
        assert says in str(caught.value)
        if how in ("dies", "floods line", "floods messages"):
            with pytest.raises(ToolServerError):  # at once, not after a minute
                call(server)


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("mute", "no list of tools within 1 second"),
        ("leaves", "no licence"),
        ("pages", "pages"),
        ("typeless", "what the protocol does not allow"),
    ],
)
def test_what_goes_wrong_at_the_beginning_is_an_error_that_says_what(how: str, says: str) -> None:
    with pytest.raises(ToolServerError) as caught:
        start(how, connect_timeout=1.0 if how == "mute" else 30.0)
    assert says in str(caught.value)


def test_tools_that_no_model_can_be_told_of_are_left_out() -> None:
    with start("schemas") as server:
        assert [tool.name for tool in server.tools] == ["echo", "liar"]
        assert set(server.skipped) == {"echo", "with space", "wrong", "long"}
        assert "hiccup" in server.skipped["wrong"]
        # what it promises of its results is not looked at: that pattern would take for ever
        assert call(server, "liar") == "fine"


def test_other_kinds_of_content_are_named_and_noise_is_passed_over() -> None:
    with start("kinds") as server:
        assert call(server) == "one\n[image: image/png]\ntwo"
    with start("noise") as server:
        assert call(server) == "echo: Hi"


@pytest.mark.fault("F79")
def test_a_program_gets_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_API_KEY", "x")
    with start("environment") as server:
        names = json.loads(call(server))
    assert "PATH" in names and "SECRET_API_KEY" not in names


def test_a_program_ends_with_its_server(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    script = (
        f"import os; open({str(marker)!r}, 'w').write(str(os.getpid()))\n"
        f"exec(open({HOSTILE!r}).read())"
    )
    server = ToolServer([sys.executable, "-c", script])
    pid = int(marker.read_text())
    os.kill(pid, 0)
    server.close()
    server.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ToolServerError, match="has ended"):
        call(server)


@pytest.mark.parametrize("target", ["", "'", [], "no-such-program-anywhere --x"])
def test_what_cannot_be_started_is_refused(target: Any) -> None:
    with pytest.raises((InvalidRequest, ToolServerError)):
        ToolServer(target)


def test_a_session_that_ends_while_it_is_used_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    session, held = connection.Connection, threading.Event()
    serve, work, late = session._serve, session._work, []

    async def serve_and_be_asked(self: Any) -> None:
        await serve(self)
        late.append(asyncio.run_coroutine_threadsafe(self._ask("echo", {}), self._loop))

    def work_and_wait(self: Any) -> None:
        work(self)
        held.wait(60)

    monkeypatch.setattr(session, "_serve", serve_and_be_asked)
    monkeypatch.setattr(session, "_work", work_and_wait)
    monkeypatch.setattr(connection, "CLOSE_SECONDS", 1)
    server = start()
    try:
        server.close()
        with pytest.raises((ToolServerError, CancelledError)):
            late[0].result(10)
        with pytest.raises(ToolServerError, match="it has ended"):
            call(server)  # its loop is closed, its thread lives
        server.close()
    finally:
        held.set()


def test_two_tools_of_one_name_are_refused() -> None:
    with start() as one, start() as two:
        assert tools_together([one]) == one.tools
        with pytest.raises(InvalidRequest, match="echo"):
            tools_together([one, two])
        with pytest.raises(InvalidRequest, match="your own functions"):
            tools_together([one], ["echo"])
