"""``cactus run --tools FILE.py`` and ``--schema FILE.json``."""

from __future__ import annotations

import io
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from cactus.agent.results import ToolCall, ToolResult
from cactus.cli.functions import Gate, check_asking, load_tools, open_tools, spelled
from cactus.cli.main import run_cli

GOOD = '''
from dataclasses import dataclass

import neighbour


@dataclass
class Place:
    city: str


def get_weather(place: Place) -> str:
    """Get the weather."""
    return neighbour.WEATHER


def _hidden() -> None:
    """Not a tool."""


def silent() -> None:
    pass
'''


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes tools.py, with a module beside it; what is imported is forgotten again."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "neighbour.py").write_text("WEATHER = 'warm'\n")

    def into(text: str) -> Path:
        file = tmp_path / "tools.py"
        file.write_text(text)
        return file

    return into


def test_public_functions_with_a_docstring_are_tools(
    write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    tools = load_tools(write(GOOD))
    assert [tool.name for tool in tools] == ["get_weather"]
    bound = tools[0].bind({"place": {"city": "Rome"}})
    assert tools[0](*bound.args, **bound.kwargs) == "warm"
    assert "left out, since they have no docstring: silent" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "has no public function with a docstring"),
        ("def f():\n  pass\n", "has no public function with a docstring"),
        ("def f(:\n  pass\n", r"tools\.py:1: "),
        ("\nx = 1 / 0\n", r"tools\.py:2: ZeroDivisionError: division by zero"),
        ("\0", r"tools\.py: (ValueError: )?source code string cannot contain null bytes"),
        (r"raise OSError('\x1b[31m')", r"tools\.py:1: OSError: [^\x1b]*$"),
        ("import sys\nsys.exit(3)\n", r"tools\.py:2: SystemExit: 3"),
        ("import nothing_like_it\n", r"tools\.py:1: ModuleNotFoundError"),
        ('def f(x: bytes):\n  """F."""\n', r"f\.x: JSON has nothing for the type bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_with_the_place(
    write: Callable[[str], Path], text: str, message: str
) -> None:
    with pytest.raises(click.UsageError, match=message) as caught:
        load_tools(write(text))
    assert "\n" not in caught.value.message


@pytest.mark.fault("F80")
def test_calls_are_shown_whole_and_cannot_hide_anything() -> None:
    call = ToolCall("1", "pay", {"to": 'Bob "B"', "amount": 5, "note": "a\u202eb\x1b[2J\n"})
    assert spelled(call) == (r'pay(to="Bob \"B\"", amount=5, note="a\u202eb\u001b[2J\n")')


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


CALL = ToolCall("1", "pay", {"amount": 5})


@pytest.mark.parametrize(
    ("typed", "runs"),
    [("y\n", True), ("YES\n", True), ("\n", False), ("n\n", False), ("No\n", False), ("", False)],
)
def test_a_call_runs_only_after_a_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, runs: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    gate = Gate(lambda: None, yes=False, quiet=True)
    assert gate(CALL) is runs
    said = capsys.readouterr()
    assert "pay(amount=5)" in said.err and "Run pay? [y]es, [N]o, [a]lways: " in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("typed", "runs"), [("what\ny\n", True), ("j\nnope\n\n", False), ("what\n", False)]
)
def test_a_reply_that_is_none_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, runs: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    assert Gate(lambda: None, yes=False, quiet=True)(CALL) is runs
    asked = capsys.readouterr().err.count("Run pay? [y]es, [N]o, [a]lways: ")
    assert asked == len(typed.splitlines()) + (typed == "what\n")


def test_always_holds_for_the_same_function_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("a\nn\n"))
    gate = Gate(lambda: None, yes=False, quiet=False)
    assert gate(CALL) and gate(CALL)
    assert not gate(ToolCall("2", "other", {}))


def test_yes_asks_nothing_and_shows_the_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    gate = Gate(lambda: None, yes=True, quiet=False)
    assert gate(CALL)
    gate.told(ToolResult(CALL, "paid\n" + "x" * 300))
    said = capsys.readouterr().err
    assert "pay(amount=5)" in said and "Run" not in said and "= paid xxx" in said and "…" in said


def test_ctrl_c_is_a_no_and_stops_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(Terminal):
        def readline(self, *_: Any) -> str:
            signal.raise_signal(signal.SIGINT)
            return "y\n"

    stopped = []
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, lambda *_: None)  # as while an answer is written
    try:
        monkeypatch.setattr(sys, "stdin", Interrupted())
        gate = Gate(lambda: stopped.append(1), yes=False, quiet=False)
        assert not gate(CALL) and stopped == [1]
    finally:
        signal.signal(signal.SIGINT, before)


def test_without_a_terminal_yes_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    with pytest.raises(
        click.UsageError, match="this is not a terminal; --yes or --allow-tool NAME runs"
    ):
        check_asking(False)
    check_asking(True)


def test_where_all_functions_may_run_unasked_no_terminal_is_needed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    file = tmp_path / "tools.py"
    file.write_text('def add(a: int) -> int:\n    """Add."""\n    return a\n')

    def unasked(*allowed: str) -> set[str]:
        return open_tools(
            click.Context(click.Command("run")), str(file), (), allowed, yes=False, quiet=True
        )[1]

    assert unasked("add") == {"add"}
    file.write_text(file.read_text() + file.read_text().replace("add", "take"))
    with pytest.raises(click.UsageError, match="--yes or --allow-tool NAME runs them unasked"):
        unasked("add")
    assert unasked("add", "take") == {"add", "take"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tools", "nowhere.py", "--yes"], "--tools nowhere.py: there is no such file."),
        (["--tools", "nowhere.py"], "--tools nowhere.py: there is no such file."),
        (["--tools", ".", "--yes"], "--tools .: it is a folder, expected a Python file."),
        (["--yes"], "--yes is about the calls of --tools, and there is no --tools."),
        (["--tools", "a.py", "--schema", "b.json"], "--tools and --schema exclude each other."),
        (["--schema", "nowhere.json"], "--schema nowhere.json: no such file."),
        (["--schema", "bad.json"], "--schema bad.json: expected valid JSON"),
        (["--schema", "list.json"], "--schema list.json: expected a JSON schema, got []."),
    ],
)
def test_a_wrong_command_line_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.json").write_text("{")
    Path("list.json").write_text("[]")
    assert run_cli(["run", *arguments, "-p", "x"]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_template_without_tools_is_told_of(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tools.py").write_text('def get_time() -> str:\n    """The time."""\n')
    tools = str(tmp_path / "tools.py")
    arguments = ["--tools", tools, "--yes", "-p", "x", "--max-tokens", "1"]
    said = "does not know tools: the system message lists them"
    assert run_cli(["run", str(tiny_model), *arguments]) == 0
    assert said in capsys.readouterr().err
    assert run_cli(["run", str(tiny_model), *arguments, "--quiet"]) == 0
    assert said not in capsys.readouterr().err

    knowing = tmp_path / "knowing"
    shutil.copytree(tiny_model, knowing)
    template = (
        "{% for tool in tools %}{{ tool.function.name }}{% endfor %}{{ messages[-1].content }}"
    )
    (knowing / "chat_template.jinja").write_text(template)
    assert run_cli(["run", str(knowing), *arguments]) == 0
    assert said not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ('{"type": "strin"}', "Error: --schema bad.json: "),
        ('{"properties": {"a": {"type": 5}}}', "Error: --schema bad.json: "),
        ('{"a": NaN}', "Error: --schema bad.json: NaN is not JSON"),
    ],
)
def test_a_schema_that_is_none_is_named_by_its_file(
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    schema: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.json").write_text(schema)
    assert run_cli(["run", str(tiny_model), "--schema", "bad.json", "-p", "x"]) == 2
    assert message in (said := capsys.readouterr().err) and "schema: " not in said
