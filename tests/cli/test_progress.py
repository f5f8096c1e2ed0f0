"""Bars, lines and late messages, as a person sees them."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pexpect
import pyte
import pytest

from cactus.progress import amount_of, rate_of, show_progress

BARS = """
import sys, time
from cactus.progress import show_progress
for unit in ("bytes", "tokens"):
    with show_progress(unit) as progress:
        progress("looking", 0, 0)
        progress("evaluating [bold]a-model-with-a-long-name", 0, 2_000_000)
        for done in (250_000, 500_000, 1_000_000):
            time.sleep(0.05)
            progress("evaluating [bold]a-model-with-a-long-name", done, 2_000_000)
"""

LATE = """
import sys, time
from cactus.cli.progress import Late
with Late("loading a-model ...", seconds=float(sys.argv[1])):
    time.sleep(0.3)
    print("still", flush=True)
    time.sleep(0.3)
"""


def screen_of(columns: int, code: str, *arguments: str) -> list[str]:
    """What stands on the terminal when the program has ended."""
    child = pexpect.spawn(
        sys.executable, ["-c", code, *arguments], encoding="utf-8", dimensions=(24, columns),
        env={**{k: v for k, v in os.environ.items() if k != "COLUMNS"}, "TERM": "xterm"},
    )  # fmt: skip
    screen = pyte.Screen(columns, 24)
    pyte.Stream(screen).feed(child.read())
    return [row.rstrip() for row in screen.display if row.strip()]


def test_a_bar_takes_nothing_that_is_written_to_a_file(tmp_path: Path) -> None:
    code = """
from cactus.progress import show_progress
with show_progress() as progress:
    progress("embedding", 0, 2)
    print("a line" * 100)
"""
    command = ["-c", '"$0" -c "$1" > "$2"', sys.executable, code, str(tmp_path / "out")]
    child = pexpect.spawn("/bin/sh", command, encoding="utf-8", env={**os.environ, "TERM": "xterm"})
    shown = child.read()
    assert "embedding" in shown and "a line" not in shown
    assert (tmp_path / "out").read_text() == "a line" * 100 + "\n"


ABOVE = """
from cactus.progress import show_progress
with show_progress("texts") as progress:
    progress("embedding", 1, 2)
    print('{"text": "' + "word " * 40 + '[bold]", "embedding": [0.5, -1e-05]}')
    progress("embedding", 2, 2)
"""
DATA = '{"text": "' + "word " * 40 + '[bold]", "embedding": [0.5, -1e-05]}'


def test_data_above_a_bar_keeps_its_lines() -> None:
    child = pexpect.spawn(
        sys.executable, ["-c", ABOVE], encoding="utf-8", dimensions=(24, 40),
        env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    shown = child.read()
    assert f"\x1b[2K{DATA}\r\n" in shown and "embedding" in shown.replace(DATA, "")


def test_a_bar_takes_nothing_that_is_written_to_another_terminal() -> None:
    ours, theirs = os.openpty()
    command = ["-c", '"$0" -c "$1" > "$2"', sys.executable, ABOVE, os.ttyname(theirs)]
    child = pexpect.spawn("/bin/sh", command, encoding="utf-8", env={**os.environ, "TERM": "xterm"})
    shown = child.read()
    written = os.read(ours, 65536).decode()
    os.close(ours)
    os.close(theirs)
    assert written == f"{DATA}\r\n" and "word" not in shown and "embedding" in shown


@pytest.mark.parametrize("columns", [30, 38, 50, 60, 80, 120, 200])
def test_a_bar_has_one_line_in_any_terminal(columns: int) -> None:
    lines = screen_of(columns, BARS)
    for line, done, speed in zip(
        lines, ("1.0/2.0 MB", "1,000,000/2,000,000"), ("MB/s", "/s"), strict=True
    ):
        assert "━" in line and line.startswith("evaluat") and len(line) <= columns - 2
        if columns >= 80:
            assert done in line and speed in line
        else:
            assert " 50%" in line


@pytest.mark.parametrize(
    ("speed", "unit", "said"),
    [(1234.5, "rows", "1,234/s"), (9.96, "rows", "10/s"), (0.0312, "rows", "0.031/s"),
     (2.5e6, "bytes", "2 MB/s")],
)  # fmt: skip
def test_a_rate_is_never_nothing(speed: float, unit: str, said: str) -> None:
    assert rate_of(speed, unit) == said


def test_without_a_terminal_there_are_two_lines_a_task(monkeypatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with show_progress() as progress:
        for done in range(0, 2_000_001, 500_000):
            progress("downloading x\x1b", done, 2_000_000)
    with show_progress("tokens") as progress:
        progress("evaluating x", 0, 4096)
        progress("evaluating x", 4096, 4096)
    assert stream.getvalue() == (
        "downloading x (2 MB) ...\ndownloading x: done\n"
        "evaluating x (4,096 tokens) ...\nevaluating x: done\n"
    )


def test_amounts_have_the_unit_of_the_whole() -> None:
    assert amount_of(5, 812, "bytes") == "5/812 B"
    assert amount_of(1_200, 17_100, "bytes") == "1.2/17.1 kB"
    assert amount_of(500_000_000, 1_600_000_000, "bytes") == "0.5/1.6 GB"
    assert amount_of(512, 4096, "tokens") == "512/4,096 tokens"


def test_what_is_waited_for_is_shown_only_if_it_takes_long() -> None:
    child = pexpect.spawn(sys.executable, ["-c", LATE, "0.1"], encoding="utf-8")
    child.expect_exact("\r\x1b[Kloading a-model ...")
    child.expect_exact("still")
    child.expect_exact("\r\x1b[K")
    child.expect(pexpect.EOF)
    assert screen_of(80, LATE, "30") == ["still"]
