"""A server that is killed: what its clients see, and what it leaves behind."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from cactus.server import state
from tests.server.openai.clients import client
from tests.server.running import PATIENCE
from tests.server.test_process import LONG, Process

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")

CHAT: dict[str, Any] = {
    "model": "tiny",
    "messages": [{"role": "user", "content": "a"}],
    "max_tokens": 8,
    "temperature": 0,
}
MANY = {**CHAT, **LONG, "n": 16}

DIES = """
import os, signal, sys
from cactus.__main__ import main
from cactus.inputs import files
size, replace, write = int(sys.argv.pop(1)), os.replace, files.replace_file
def die(*given):
    os.kill(os.getpid(), signal.SIGKILL)
def dies(path, data, **options):
    if path.name == "plan.bin":
        os.replace = die
        if size >= 0:
            data = data[:size]
    write(path, data, **options)
files.replace_file = dies
from cactus.engine import plan_cache
plan_cache.replace_file = dies
main()
"""
"""It is killed when so many bytes of its plan are written, before they take their place."""


@pytest.fixture(autouse=True)
def _own_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A weights folder of its own."""
    return Path(shutil.copytree(tiny_model, tmp_path / "tiny"))


@pytest.fixture
def begun() -> Iterator[list[Process]]:
    """Servers that are ended with the test."""
    found: list[Process] = []
    yield found
    for each in found:
        each.end()


def contents(folder: Path) -> dict[str, str]:
    """The files of a folder and their digests, but for the plans, which may be made anew."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if "plan" not in path.name
    }


@pytest.mark.fault("F58")
def test_clients_are_told_and_the_next_server_answers_the_same(
    folder: Path, begun: list[Process]
) -> None:
    before = contents(folder)
    first = Process(str(folder), "--port", "0")
    begun.append(first)
    first.up()
    ai = client(first.url)
    expected = ai.chat.completions.create(**CHAT).choices[0].message.content
    with (
        ai.chat.completions.create(**MANY) as stream,
        httpx.Client(base_url=first.url, timeout=PATIENCE) as raw,
        raw.stream("POST", "/api/chat", json={**LONG, "model": "tiny"}) as lines,
    ):
        next(iter(stream))
        rest = lines.iter_lines()
        next(rest)
        first.process.kill()
        first.wait()
        with pytest.raises(openai.APIConnectionError):
            list(stream)
        with pytest.raises(httpx.TransportError):
            list(rest)
    with pytest.raises(openai.APIConnectionError):
        ai.chat.completions.create(**CHAT)
    assert contents(folder) == before
    second = Process(str(folder), "--port", first.url.rpartition(":")[2])
    begun.append(second)
    second.up()
    assert ai.chat.completions.create(**CHAT).choices[0].message.content == expected
    assert [each.pid for each in state.servers()] == [second.process.pid]
    assert not (state.folder() / f"{first.process.pid}.json").exists()


@pytest.mark.fault("F66")
@pytest.mark.parametrize("size", [0, 100, -1], ids=["nothing", "a part", "all"])
def test_a_plan_that_was_not_written_to_its_end_is_made_anew(
    folder: Path, begun: list[Process], size: int
) -> None:
    (folder / "plan.bin").unlink(missing_ok=True)
    before = contents(folder)
    killed = Process(str(folder), "--port", "0", run=("-c", DIES, str(size)))
    begun.append(killed)
    assert killed.wait() == -signal.SIGKILL
    assert not (folder / "plan.bin").exists()
    assert contents(folder) == before
    answers = []
    for _ in range(2):  # with a plan that is made, and with the one that is kept
        server = Process(str(folder), "--port", "0")
        begun.append(server)
        server.up()
        answers.append(client(server.url).chat.completions.create(**CHAT).choices[0].message)
        assert (folder / "plan.bin").exists()
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0
    assert answers[0] == answers[1]
    assert state.servers() == [] and os.listdir(state.folder()) == []
