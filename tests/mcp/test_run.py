"""`cactus run --mcp`: tools of other programs in a chat, each call shown and asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cactus import Model, ToolServer
from cactus.cli.chat import Chat, Manner
from cactus.cli.functions import Gate
from cactus.cli.main import run_cli
from tests.mcp.test_servers import CALL, HOSTILE, calling

SERVER = f"{sys.executable} {HOSTILE}"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cactus", "run", *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_the_tools_are_told_and_an_allowed_one_needs_no_terminal(tiny_model: Path) -> None:
    told = [str(tiny_model), "Hi", "--max-tokens", "3", "--mcp", SERVER]
    done = run(*told, "--allow-tool", "echo")
    assert done.returncode == 0, done.stderr
    assert "hostile.py: echo" in done.stderr


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "--mcp asks before each call, and this is not a terminal"),
        (["--yes"], "--yes is about the calls of --tools"),
        (["--allow-tool", "other"], "--allow-tool other: there is no such tool; there are: echo"),
        (["--schema", "x.json"], "--mcp and --schema exclude each other"),
        (["--mcp", SERVER, "--allow-tool", "echo"], "the tool echo is in"),
    ],
)
def test_what_does_not_go_together_is_refused(more: list[str], says: str) -> None:
    done = run("smollm2-135m-instruct", "Hi", "--mcp", SERVER, *more)
    assert done.returncode != 0 and says in done.stderr


def test_a_server_that_does_not_start_is_an_error() -> None:
    done = run("smollm2-135m-instruct", "Hi", "--mcp", f"{SERVER} leaves")
    assert done.returncode == 1 and "no licence" in done.stderr


def test_allowing_without_a_server_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["run", "x", "Hi", "--allow-tool", "echo"]) == 2
    assert "--allow-tool echo: there is no such tool" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("allowed", "reply", "told"),
    [(["echo"], None, "echo: Hi"), ([], "y", "echo: Hi"), ([], "n", "did not allow")],
)
def test_a_call_is_shown_and_runs_where_it_may(
    scripted_model: Callable[..., Model],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    allowed: list[str],
    reply: str | None,
    told: str,
) -> None:
    model = scripted_model(calling(CALL, "Done."), context=20_000, chunk=512)
    asked: list[str] = []

    def answer(self: Gate, question: str) -> str:
        asked.append(question)
        assert reply is not None
        return {"y": "yes", "n": "no"}[reply]

    monkeypatch.setattr(Gate, "_reply", answer)
    with ToolServer(SERVER) as server:
        chat = Chat(
            model,
            Path(),
            options={"max_tokens": 200},
            manner=Manner(history=False),
            tools=server.tools,
            gate=Gate(model.stop, yes=False, quiet=False, unasked=allowed),
        )
        assert chat.answer_once("Say it") == 0
    shown: Any = capsys.readouterr()
    assert "Done." in shown.out and 'echo(text="Hi")' in shown.err and told in shown.err
    assert len(asked) == (0 if allowed else 1)
