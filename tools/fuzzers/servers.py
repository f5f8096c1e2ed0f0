"""Servers of tools that speak MCP, as programs that say what they should not.

Each case is what a program answers to every method, and what it says unasked: right messages with
something in their JSON changed, or their bytes. A server's tools are listed, checked and called; it
ends with its process, and with a text or ToolServerError for every call.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path
from typing import Any

from cactus.agent.mcp.server import ToolServer
from cactus.errors import ToolServerError
from fuzzers.base import Case, Fuzzer, change_bytes, change_json, change_text

SECONDS = 3.0
"""For a list of tools, and for a call."""

PROGRAM = """
import json, sys
says = json.load(open(sys.argv[1]))
for line in sys.stdin:
    asked = json.loads(line)
    no = {"error": {"code": -32601, "message": "no such method"}}
    for message in [*says.get(asked.get("method"), []), no] if "id" in asked else []:
        if isinstance(message, dict):
            message = json.dumps({"jsonrpc": "2.0", "id": asked["id"]} | message) + chr(10)
        sys.stdout.buffer.write(str(message).encode("utf-8", "surrogatepass"))
    sys.stdout.flush()
"""
"""A text is written as it is; a message has the right id unless it has another. An error at the end
of each answer, which comes too late where there was one, keeps nobody waiting."""

OBJECT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
INFO = {"name": "fuzzed", "version": "1"}
KEPT = {"ttlMs": 0, "cacheScope": "private"}
CAPABLE: dict[str, Any] = {"tools": {"listChanged": True}}
UNASKED: list[Any] = [
    {"method": "notifications/message", "params": {"level": "info", "data": "x"}},
    {"method": "notifications/tools/list_changed"},
    {"method": "notifications/progress", "params": {"progressToken": 1, "progress": 0.5}},
    {"id": "s1", "method": "ping"},
    {"id": "s2", "method": "roots/list"},
    {"id": "s3", "method": "sampling/createMessage",
     "params": {"messages": [{"role": "user", "content": {"type": "text", "text": "x"}}],
                "maxTokens": 5}},
    {"id": "s4", "method": "elicitation/create",
     "params": {"message": "Key?", "requestedSchema": {"type": "object", "properties": {}}}},
    "a line of a log\n", "{", "\n\n", "[]\n", '{"jsonrpc": "2.0"}\n', "[" * 9000 + "\n",
    '{"jsonrpc": "2.0", "id": 1, "result": {}}\n',
]  # fmt: skip
CONTENT: list[Any] = [
    {"type": "text", "text": "done"},
    {"type": "image", "data": "eA==", "mimeType": "image/png"},
    {"type": "audio", "data": "eA==", "mimeType": "audio/wav"},
    {"type": "resource", "resource": {"uri": "file:///x", "text": "two", "mimeType": "text/plain"}},
    {"type": "resource", "resource": {"uri": "file:///y", "blob": "eA=="}},
    {"type": "resource_link", "uri": "file:///x", "name": "x"},
]
TOOLS: list[Any] = [
    {"name": "echo", "description": "Say it again.", "inputSchema": OBJECT},
    {"name": "sum", "title": "Add", "annotations": {"readOnlyHint": True},
     "inputSchema": {"type": "object", "properties": {"n": {"type": "array", "items":
                     {"type": "number"}}}},
     "outputSchema": {"type": "object", "properties": {"a": {"pattern": "^(a+)+$"}}}},
    {"name": "any", "inputSchema": {"type": "object"}},
]  # fmt: skip
RIGHT: dict[str, Any] = {
    "initialize": [{"result": {"protocolVersion": "2025-06-18", "capabilities": CAPABLE,
                               "serverInfo": INFO, "instructions": "x"}}],
    "server/discover": [{"result": {"supportedVersions": ["2026-07-28"], "capabilities": CAPABLE,
                                    "serverInfo": INFO, "resultType": "complete", **KEPT}}],
    "tools/list": [{"result": {"tools": TOOLS, "resultType": "complete", **KEPT}}],
    "tools/call": [{"result": {"content": CONTENT, "isError": False, "resultType": "complete",
                               "structuredContent": {"a": "a" * 40 + "!"}}}],
}  # fmt: skip


class Fuzz(Fuzzer):
    """Servers of tools."""

    errors = (ToolServerError,)
    by_message = True
    memory = 2 << 30

    def __init__(self, scratch: Path) -> None:
        self.file = scratch / "says"
        program = scratch / "program.py"
        program.write_text(PROGRAM)
        self.command = [sys.executable, "-I", "-S", str(program), str(self.file)]
        for legacy in (False, True):
            found = self._use(json.dumps(RIGHT).encode(), legacy, 60.0)
            assert found == ["done"] * len(TOOLS), found

    def make(self, rng: random.Random) -> Case:
        """Right messages with something changed, and others between them."""
        says = json.loads(json.dumps(RIGHT))
        method = rng.choice(list(says))
        action = rng.randrange(8)
        if action == 0:
            says[method].insert(rng.randrange(2), rng.choice(UNASKED))
        elif action == 1:
            says[method] = rng.choice(([], says[method] * 2, [{"error": {"code": 0}}]))
        elif action == 2:
            says["tools/list"][0]["result"]["nextCursor"] = rng.choice(("next", "", 5))
        elif action == 3:
            text = json.dumps({"jsonrpc": "2.0", "id": rng.choice((0, 1, 2))} | says[method][0])
            changed = rng.choice((change_text, _bytes))(rng, text.encode())
            says[method] = [changed.decode("utf-8", "replace") + "\n"]
        else:
            for _ in range(rng.choice((1, 1, 2, 3))):
                says[method] = change_json(rng, says[method])
        return self._case(rng.choice(("auto", "legacy")), says)

    def mutate(self, rng: random.Random, case: Case, other: Case) -> Case:
        """Its JSON changed once more."""
        return self._case(case.kind, change_json(rng, json.loads(case.data)))

    def _case(self, kind: str, says: Any) -> Case:
        return Case(kind, json.dumps(says if isinstance(says, dict) else {}).encode()[: 1 << 20])

    def run(self, case: Case) -> None:
        """Start it, look at its tools, and call them."""
        self.said = " ".join(said[:60] for said in self._use(case.data, case.kind == "legacy"))

    def _use(self, data: bytes, legacy: bool, seconds: float = SECONDS) -> list[str]:
        """The first line of what comes of each tool."""
        self.file.write_bytes(data)
        found = []
        times = {"connect_timeout": seconds, "call_timeout": seconds}
        with ToolServer(self.command, legacy=legacy, **times) as server:
            assert all(len(reason) < 2000 for reason in server.skipped.values())
            for tool in server.tools[:4]:
                json.dumps(tool.parameters)
                bound = tool.bind({"text": "Hi"})
                try:
                    text = asyncio.run(tool.function(*bound.args, **bound.kwargs))
                    assert isinstance(text, str)
                except ToolServerError as error:
                    text = f"error {error}"
                found.append(text.partition("\n")[0])
        return found


def _bytes(rng: random.Random, text: bytes) -> bytes:
    return change_bytes(rng, text, text)
