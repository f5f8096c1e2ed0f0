"""``--tools FILE.py``: the functions of a file as tools, shown before they run, and asked for."""

from __future__ import annotations

import importlib.util
import inspect
import json
import signal
import sys
import traceback
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import click

from cactus.cli.text import note, printable
from cactus.errors import InvalidRequest
from cactus.inputs.text import one_line
from cactus.schemas.spell import described

if TYPE_CHECKING:
    from cactus.agent.results import ToolCall, ToolResult
    from cactus.schemas.functions import Tool

REPLIES = {
    "y": "yes", "yes": "yes", "a": "always", "always": "always", "n": "no", "no": "no", "": "no",
}  # fmt: skip
"""What may be typed, and what it means."""

SHOWN = 200
"""Characters of a result that are shown."""


def open_tools(
    ctx: click.Context,
    file: str | None,
    servers: Sequence[str],
    allowed: Sequence[str],
    *,
    yes: bool,
    quiet: bool,
) -> tuple[list[Tool], set[str]]:
    """The tools of --tools and --mcp, and the names of those that run without being asked for.

    Raises a usage error for options that do not go together or name nothing, and where calls are to
    be asked for and nobody is there; ToolServerError.
    """
    if yes and not file:
        raise click.UsageError("--yes is about the calls of --tools, and there is no --tools.")
    own = load_tools(file) if file else []
    if file:
        check_asking(yes or {tool.name for tool in own} <= {*allowed})
    tools = [*own, *open_servers(ctx, servers, own, quiet=quiet)]
    unasked = {*allowed, *(tool.name for tool in own if yes)}
    check_allowed(allowed, tools)
    if servers:
        asked = [tool for tool in tools if tool.name not in unasked]
        check_asking(not asked, "--mcp", "--allow-tool NAME runs a tool unasked")
    return tools, unasked


def load_tools(file: str | Path) -> list[Tool]:
    """The public functions of a Python file that have a docstring, which is executed for it.

    Raises a usage error that names the line that failed, or the function that cannot be a tool.
    """
    from cactus.schemas.functions import Tool

    path = Path(file).expanduser()
    if not path.is_file():
        wrong = (
            "it is a folder, expected a Python file" if path.is_dir() else "there is no such file"
        )
        raise click.UsageError(f"--tools {printable(str(path))}: {wrong}.")
    module = _module(path)
    own = {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and inspect.isfunction(value)
        and value.__module__ == module.__name__
    }
    silent = [name for name, value in own.items() if not inspect.getdoc(value)]
    if silent and len(silent) < len(own):
        note(f"left out, since they have no docstring: {', '.join(silent)}")
    if len(silent) == len(own):
        raise click.UsageError(f"{path} has no public function with a docstring.")
    try:
        return [Tool(value) for name, value in own.items() if name not in silent]
    except InvalidRequest as error:
        raise click.UsageError(f"{path}: {error}") from None


def _module(path: Path) -> ModuleType:
    """The file as a module; it finds its neighbours as if it were run."""
    spec = importlib.util.spec_from_file_location(f"cactus_tools_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise click.UsageError(f"--tools {path}: expected a Python file, such as tools.py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there for the types of their fields
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        where = f"{error.filename}:{error.lineno}" if error.filename else str(path)
        raise click.UsageError(f"{where}: {error.msg}") from None
    except (Exception, SystemExit) as error:
        lines = [
            f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)
        ]
        where = f"{path}:{lines[-1]}" if lines else str(path)
        raise click.UsageError(f"{where}: {printable(described(error))}") from None
    return module


def check_asking(
    yes: bool,
    option: str = "--tools",
    instead: str = "--yes or --allow-tool NAME runs them unasked",
) -> None:
    """A usage error where calls are to be asked for and nobody is there to answer."""
    if not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(
            f"{option} asks before each call, and this is not a terminal; {instead}."
        )


def check_allowed(names: Sequence[str], tools: Sequence[Tool]) -> None:
    """A usage error for a name of --allow-tool that no tool has."""
    known = [tool.name for tool in tools]
    for name in names:
        if name not in known:
            there = ", ".join(known) or "none"
            raise click.UsageError(
                f"--allow-tool {printable(name)}: there is no such tool; there are: {there}."
            )


def open_servers(
    ctx: click.Context, targets: Sequence[str], own: Sequence[Tool], *, quiet: bool
) -> list[Tool]:
    """The tools of --mcp; the servers are ended with the command.

    Raises ToolServerError for one that cannot be started or reached.
    """
    if not targets:
        return []
    from cactus.agent.mcp.server import ToolServer, tools_together

    servers = [ctx.with_resource(ToolServer(target)) for target in targets]
    for server in servers:
        for name, why in server.skipped.items():
            left_out = f"the tool {printable(name)} is left out: {printable(why)}"
            note(f"{printable(server.name)}: {left_out}")
        if not quiet:
            names = ", ".join(tool.name for tool in server.tools) or "no tool"
            note(f"{printable(server.name)}: {names}")
    return tools_together(servers, [tool.name for tool in own])


class Gate:
    """Shows each call, and asks whether it may run unless ``yes``; called before each one.

    `unasked` are names of tools that run without a question. `stop` ends the answer, where Ctrl-C
    is the reply.
    """

    def __init__(
        self,
        stop: Callable[[], object],
        *,
        yes: bool,
        quiet: bool,
        unasked: Collection[str] = (),
    ) -> None:
        self._stop, self._yes, self._quiet = stop, yes, quiet
        self._always = set(unasked)

    def __call__(self, call: ToolCall) -> bool:
        asks = not self._yes and call.name not in self._always
        if asks or not self._quiet:
            note(spelled(call))
        if not asks:
            return True
        reply = self._reply(f"Run {printable(call.name)}? [y]es, [N]o, [a]lways: ")
        if reply == "always":
            self._always.add(call.name)
        return reply != "no"

    def told(self, result: ToolResult) -> None:
        """Show what came of a call."""
        if not self._quiet:
            note(f"= {one_line(result.text, SHOWN)}")

    def _reply(self, question: str) -> str:
        """Ask until the reply is one of REPLIES: "yes", "no" or "always"."""
        # While an answer is written Ctrl-C only stops that, and the line would be waited for.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            while True:
                _drop_typed_ahead()  # whoever typed it has not seen the call
                click.echo(question, err=True, nl=False)
                line = sys.stdin.readline()  # "" at the end of the input, which is a no
                reply = REPLIES.get(line.strip().lower())
                if reply is not None:
                    return reply
        except KeyboardInterrupt:
            click.echo(err=True)
            self._stop()
            return "no"
        finally:
            signal.signal(signal.SIGINT, before)


def _drop_typed_ahead() -> None:
    """Throw away what was typed and not yet read."""
    if sys.platform == "win32":
        import msvcrt

        while msvcrt.kbhit():
            msvcrt.getwch()
    else:
        import termios

        with suppress(OSError, termios.error):  # no terminal
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


def spelled(call: ToolCall) -> str:
    """A call as Python writes it, ``get_weather(location="Paris")``, all of it to be seen."""
    given = (
        f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in call.arguments.items()
    )
    whole = f"{call.name}({', '.join(given)})"
    # What turns the direction of a text around, or has no width, would hide what is approved.
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in whole)
