"""A chat whose model calls functions, in a real terminal."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

FAKE = str(Path(__file__).with_name("fake_tools_chat.py"))
ROOT = Path(__file__).parents[2]
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")
PROMPT = "\x1b[1m> \x1b[0m"
QUESTION = "Run get_weather? [y]es, [N]o, [a]lways: "
TOOLS = '''
def get_weather(city: str) -> str:
    """Get the weather."""
    if city != "Rome":
        raise ValueError(city)
    return "warm"
'''


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., pexpect.spawn]]:
    (tmp_path / "tools.py").write_text(TOOLS)
    children: list[pexpect.spawn] = []

    def begin(*arguments: str) -> pexpect.spawn:
        child = pexpect.spawn(
            sys.executable, [FAKE, *arguments, str(tmp_path), str(tmp_path / "tools.py")],
            env={**os.environ, "TERM": "xterm", "INPUTRC": "/dev/null", "PYTHONPATH": str(ROOT)},
            encoding="utf-8", timeout=30, dimensions=(24, 200),
        )  # fmt: skip
        child.delaybeforesend = None
        children.append(child)
        child.expect_exact(PROMPT)
        return child

    yield begin
    for child in children:
        child.close(force=True)


def shown(child: pexpect.spawn) -> str:
    return CONTROLS.sub("", child.before)


def test_a_call_is_shown_asked_for_and_its_result_answered(
    start: Callable[..., pexpect.spawn], tmp_path: Path
) -> None:
    child = start()
    child.sendline("Weather?")
    child.expect_exact(QUESTION)
    assert '[get_weather(city="Rome")]' in shown(child)
    child.sendline("y")
    child.expect_exact(PROMPT)
    assert "[= warm]" in shown(child) and "I was told: warm" in shown(child)

    child.sendline("Again?")
    child.expect_exact(QUESTION)
    child.sendline("")
    child.expect_exact(PROMPT)
    assert "I was told: Error: the user did not allow this call" in shown(child)

    child.sendline(f"/save {tmp_path}/talk.json")
    child.expect_exact(PROMPT)
    messages = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant", "tool", "assistant"] * 2
    child.sendline("/reset")
    child.expect_exact(PROMPT)
    child.sendline(f"/load {tmp_path}/talk.json")
    child.expect_exact(PROMPT)
    assert "Loaded 2 turns; the last: Again?" in shown(child)
    child.sendline("/retry")
    child.expect_exact(QUESTION)
    child.sendline("a")
    child.expect_exact(PROMPT)
    assert "I was told: warm" in shown(child)
    child.sendline("Once more?")
    child.expect_exact(PROMPT)
    assert "[= warm]" in shown(child)


def test_ctrl_c_at_the_question_runs_nothing_and_keeps_the_chat(
    start: Callable[..., pexpect.spawn],
) -> None:
    child = start()
    child.sendline("Weather?")
    child.expect_exact(QUESTION)
    child.sendintr()
    child.expect_exact(PROMPT)
    assert "warm" not in shown(child) and "stopped;" in shown(child)
    child.sendline("Weather?")
    child.expect_exact(QUESTION)
    child.sendline("y")
    child.expect_exact(PROMPT)
    assert "I was told: warm" in shown(child)
    child.sendline("/bye")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0


def test_yes_runs_calls_unasked(start: Callable[..., pexpect.spawn]) -> None:
    child = start("--yes")
    child.sendline("Weather?")
    child.expect_exact(PROMPT)
    said = shown(child)
    assert '[get_weather(city="Rome")]' in said and "I was told: warm" in said
    assert "Run" not in said


@pytest.mark.parametrize("typed", ["y", "a"])
def test_what_was_typed_before_the_question_is_no_reply_to_it(
    start: Callable[..., pexpect.spawn], typed: str
) -> None:
    child = start()
    child.sendline("Wait, then tell me the weather.")
    child.expect_exact("reading ...")
    child.sendline(typed)
    child.expect_exact(QUESTION)
    child.sendline("what?")
    child.expect_exact(QUESTION)
    assert "warm" not in shown(child)
    child.sendline("")
    child.expect_exact(PROMPT)
    assert "I was told: Error: the user did not allow this call" in shown(child)
