"""An MCP server without the package: it does what its first argument says, right or wrong."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

HOW = sys.argv[1] if len(sys.argv) > 1 else "good"
OBJECT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}

TOOLS: dict[str, list[dict[str, Any]]] = {
    "good": [{"name": "echo", "description": "Say it again.", "inputSchema": OBJECT}],
    "schemas": [
        {"name": "echo", "inputSchema": OBJECT},
        {"name": "echo", "inputSchema": OBJECT},
        {"name": "with space", "inputSchema": OBJECT},
        {
            "name": "wrong",
            "inputSchema": {"type": "object", "properties": {"x": {"type": "hiccup"}}},
        },
        {"name": "long", "description": "x" * 100_000, "inputSchema": OBJECT},
        {
            "name": "liar",
            "inputSchema": OBJECT,
            "outputSchema": {
                "type": "object",
                "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}},
                "required": ["a"],
            },
        },
    ],
    "typeless": [{"name": "echo", "inputSchema": []}],
}


def say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def result(text: str, **more: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], **more}


def called(text: str) -> dict[str, Any] | None:
    if HOW == "dies":
        sys.stderr.write("out of luck\n")
        sys.stderr.flush()
        os._exit(3)
    if HOW == "hangs":
        time.sleep(1000)
    if HOW == "floods line":
        while True:
            sys.stdout.write("x" * 65536)
    if HOW == "floods messages":
        while True:
            say({"method": "notifications/message", "params": {"level": "info", "data": "x"}})
    if HOW == "long":
        return result("x" * 300_000)
    if HOW == "fails":
        return result("the disk is full", isError=True)
    if HOW == "nonsense":
        return {"content": "no list"}
    if HOW == "noise":
        print("a log line on standard output")
    if HOW == "kinds":
        return {
            "content": [
                {"type": "text", "text": "one"},
                {"type": "image", "data": "eA==", "mimeType": "image/png"},
                {"type": "resource", "resource": {"uri": "file:///x", "text": "two"}},
            ]
        }
    if HOW == "schemas":
        return result("fine", structuredContent={"a": "a" * 64 + "!"})
    if HOW == "environment":
        return result(json.dumps(sorted(os.environ)))
    return result(f"echo: {text}")


def main() -> None:
    if HOW == "mute":
        time.sleep(1000)
    if HOW == "leaves":
        sys.stderr.write("no licence\n")
        return
    for line in sys.stdin:
        asked = json.loads(line)
        method, params = asked.get("method"), asked.get("params") or {}
        if method == "initialize":
            info = {"name": "hostile", "version": "1"}
            version = params["protocolVersion"]
            told = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
            say({"id": asked["id"], "result": told})
        elif method == "tools/list":
            if HOW == "pages":
                say({"id": asked["id"], "result": {"tools": TOOLS["good"], "nextCursor": "again"}})
            else:
                say({"id": asked["id"], "result": {"tools": TOOLS.get(HOW, TOOLS["good"])}})
        elif method == "tools/call":
            told = called((params.get("arguments") or {}).get("text", ""))
            say({"id": asked["id"], "result": told})
        elif "id" in asked:
            say({"id": asked["id"], "error": {"code": -32601, "message": "no such method"}})


main()
