"""A server that is started as a program and spoken to over its standard input and output.

What the package mcp has for this keeps whatever a program writes until a line ends. Here a message
has a limit, and so has what a program may say without having been asked.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import mcp.types as types
from anyio.abc import Process
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage

from cactus.inputs.text import cut

MAX_MESSAGE = 16 << 20
"""Bytes of a message."""
MAX_UNASKED = 10_000
"""Messages that may come after the last one that was sent."""
TAIL = 2000
"""Characters that are kept of what the program has written to its standard error."""
GRACE_SECONDS = 2.0
"""For the program to end by itself, and again after it was asked to."""


@dataclass
class Trouble:
    """What went wrong with a program, to be told: its last words, and what it did wrong."""

    fault: str = ""
    tail: str = field(default="", repr=False)

    def __str__(self) -> str:
        last = self.tail.strip().splitlines()[-1:]
        said = f"it said: {cut(last[0], 300)}" if last else ""
        return "; ".join(filter(None, (self.fault, said)))


@asynccontextmanager
async def pipe(
    command: Sequence[str], trouble: Trouble, env: Mapping[str, str]
) -> AsyncIterator[Any]:
    """Start a program; the streams of messages from and to it. It ends with the context.

    It gets a few variables of the environment and `env`, not all: keys are in there, too.
    """
    process = await anyio.open_process(
        list(command),
        env=get_default_environment() | dict(env),
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    into, incoming = anyio.create_memory_object_stream[Any](0)
    outgoing, out_of = anyio.create_memory_object_stream[Any](0)
    count = _Count()
    async with anyio.create_task_group() as group:
        group.start_soon(_read, process, into, count, trouble)
        group.start_soon(_write, process, out_of, into, count)
        group.start_soon(_listen, process, trouble)
        try:
            yield incoming, outgoing
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)
            group.cancel_scope.cancel()
            for stream in (into, incoming, outgoing, out_of):
                stream.close()


@dataclass
class _Count:
    unasked: int = 0


async def _read(process: Process, into: Any, count: _Count, trouble: Trouble) -> None:
    assert process.stdout is not None
    buffer, seen = bytearray(), 0
    gone = (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream, OSError)
    async with into:
        with suppress(*gone):
            async for chunk in process.stdout:
                buffer += chunk
                while (end := buffer.find(b"\n", seen)) >= 0:
                    line, seen = bytes(buffer[:end]), 0
                    del buffer[: end + 1]
                    count.unasked += 1
                    if count.unasked > MAX_UNASKED:
                        trouble.fault = f"it sent more than {MAX_UNASKED:,} messages unasked"
                        return
                    message = _message(line)
                    if message is not None:
                        await into.send(message)
                seen = len(buffer)
                if seen > MAX_MESSAGE:
                    trouble.fault = f"it sent a message of more than {MAX_MESSAGE:,} bytes"
                    return


def _message(line: bytes) -> SessionMessage | None:
    """What a line says; some programs print other things, too."""
    try:
        return SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
    except (ValueError, RecursionError):
        return None


async def _write(process: Process, out_of: Any, into: Any, count: _Count) -> None:
    assert process.stdin is not None
    gone = (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError)
    try:
        async with out_of:
            async for sent in out_of:
                count.unasked = 0
                text = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
                await process.stdin.send(text.encode() + b"\n")
    except gone:
        await into.aclose()  # whoever waits for an answer is told that none will come


async def _listen(process: Process, trouble: Trouble) -> None:
    """Keep the end of what it writes to its standard error, so that it never waits for a reader."""
    assert process.stderr is not None
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
        async for chunk in process.stderr:
            trouble.tail = (trouble.tail + chunk.decode("utf-8", "replace"))[-TAIL:]


async def _end(process: Process) -> None:
    """Close its input, wait, ask it to end, wait, end it, with all that it has started."""
    if process.stdin is not None:
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
            await process.stdin.aclose()
    for number in (None, signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        if number is not None:
            _signal(process, number)
        with anyio.move_on_after(GRACE_SECONDS):
            while process.returncode is None:  # its wait() also waits for pipes that others hold
                await anyio.sleep(0.01)
            break
    _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))  # what it has left behind
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, OSError):
                await stream.aclose()
    # Its pipes stay open where nobody has read them to their end; nothing public closes them.
    transport = getattr(getattr(process, "_process", None), "_transport", None)
    if transport is not None:
        with suppress(ProcessLookupError, PermissionError):
            transport.close()


def _signal(process: Process, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.terminate()
        else:
            os.killpg(process.pid, number)
