"""`cactus mcp` as programs start it: over a pipe, and over HTTP."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters

from tests.mcp.conftest import World, text_of


def command(world: World, *more: str) -> list[str]:
    chat = str(world.models["chat"])
    return [
        "-m",
        "cactus",
        "mcp",
        chat,
        "--docs",
        str(world.docs),
        "--root",
        str(world.files),
        *more,
    ]


def environment(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path), "CACTUS_THREADS": "1"}


async def talk(client: Client) -> tuple[str, list[str], str]:
    names = [tool.name for tool in (await client.list_tools()).tools]
    found = await client.call_tool("search_documents", {"query": "cactus water"})
    return client.protocol_version, names, text_of(found)


def check(told: tuple[str, list[str], str], mode: str) -> None:
    version, names, found = told
    assert version == {"auto": "2026-07-28", "legacy": "2025-11-25"}[mode]
    assert names == ["search_documents", "ask_documents", "embed"]
    assert "stores water" in found


def test_over_a_pipe(world: World, mode: str, tmp_path: Path) -> None:
    async def run() -> Any:
        server = StdioServerParameters(
            command=sys.executable, args=command(world), env=environment(tmp_path)
        )
        async with Client(server, mode=mode) as client:
            return await talk(client)

    check(asyncio.run(run()), mode)


def test_over_http(world: World, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = command(world, "--http", "--port", str(port))
    import os

    process = subprocess.Popen(
        [sys.executable, *arguments], env={**os.environ, **environment(tmp_path)},
        stderr=subprocess.PIPE,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}/mcp"
    try:
        wait_for(port, process)

        async def run(mode: str) -> Any:
            async with Client(url, mode=mode) as client:
                return await talk(client)

        for mode in ("auto", "legacy"):
            check(asyncio.run(run(mode)), mode)
        # a page in a browser that has the name of another host point here gets nothing
        reply = httpx2.post(url, json={}, headers={"Host": "evil.example"})
        assert reply.status_code in (403, 421)
        reply = httpx2.post(url, json={}, headers={"Origin": "http://evil.example"})
        assert reply.status_code == 403
        assert httpx2.post(url, content=b"x" * (5 << 20)).status_code in (400, 413, 415)
    finally:
        process.terminate()
        process.communicate(timeout=20)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, process.stderr and process.stderr.read()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail("it does not listen")
