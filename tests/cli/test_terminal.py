"""The chat in a real terminal: typing, pasting, Ctrl-C, leaving."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pyte
import pytest

FAKE = str(Path(__file__).with_name("fake_chat.py"))
PASTE = "\x1b[200~{}\x1b[201~"


@pytest.fixture
def terminal():
    """Starts a program in a terminal of 80 columns; ends it with the test."""
    running: list[pexpect.spawn] = []

    def start(arguments: list[str], **environment: str) -> pexpect.spawn:
        import os

        settings = {**os.environ, "TERM": "xterm", "PYTHONWARNINGS": "error", **environment}
        settings.pop("NO_COLOR", None)
        child = pexpect.spawn(
            sys.executable, arguments, env=settings, encoding="utf-8", timeout=20,
            dimensions=(24, 80),
        )  # fmt: skip
        child.delaybeforesend = None
        running.append(child)
        return child

    yield start
    for child in running:
        child.close(force=True)


def interrupt(child: pexpect.spawn) -> None:
    """Ctrl-C once the program waits for a key.

    Python's `input` notices a signal only while it waits: one that comes between the prompt, or
    a key's echo, and the next wait is seen with the next key.
    """
    status = Path(f"/proc/{child.pid}/stat")
    if status.exists():
        while status.read_text().rpartition(")")[2].split()[0] != "S":
            time.sleep(0.01)
    else:
        time.sleep(0.5)
    child.sendintr()


def leaves(child: pexpect.spawn) -> int:
    """Waits for the end; the exit status."""
    child.expect(pexpect.EOF)
    child.wait()
    assert child.signalstatus is None
    return child.exitstatus


def test_a_conversation_remembers_until_reset(terminal) -> None:
    child = terminal([FAKE])
    child.expect("> ")
    child.sendline("one")
    child.expect(r"\['one'\]")
    child.expect(r"\[7 tokens, 0\.0 tok/s, first token after 0 ms\]")
    child.expect("> ")
    child.sendline("two")
    child.expect(r'\[\'one\', "\[\'one\'\]", \'two\'\]')
    child.expect("> ")
    child.sendline("/reset")
    child.expect("forgotten")
    child.expect("> ")
    child.sendline("three")
    child.expect(r"\['three'\]")
    child.expect("> ")
    child.sendline("/exit")
    assert leaves(child) == 0


def test_a_request_that_fails_does_not_end_the_conversation(terminal) -> None:
    child = terminal([FAKE])
    for text, said in [
        ("too long", r"half\r\n[^\n]*\[the prompt .* the context of 60\]"),
        ("too big", r"half\r\n[^\n]*\[no room for the cache\]"),
        ("odd", r"half\r\n[^\n]*\[a step failed\]"),
    ]:
        child.expect("> ")
        child.sendline(text)
        child.expect(said)
    child.expect("> ")
    child.sendline("one")
    child.expect(r"\['one'\]")
    child.expect("> ")
    child.sendline("/exit")
    assert leaves(child) == 0


def test_help_and_wrong_commands(terminal) -> None:
    child = terminal([FAKE])
    child.expect("> ")
    child.sendline("/help")
    child.expect("forget the conversation")
    child.expect("> ")
    child.sendline("/rest")
    child.expect(r"no command /rest: did you mean /reset\?")
    child.expect("> ")
    child.sendline("/usr/bin is a folder")  # begins with a slash and is no command
    child.expect(r"\['/usr/bin is a folder'\]")
    child.expect("> ")
    child.sendeof()
    assert leaves(child) == 0


@pytest.mark.fault("F58")
def test_ctrl_c_stops_the_answer_and_the_conversation_goes_on(terminal) -> None:
    child = terminal([FAKE])
    child.expect("> ")
    child.sendline("slow")
    child.expect(r"\.\.\.\.")
    child.sendintr()
    child.expect(r"\[stopped; 7 tokens")
    child.expect("> ")
    child.sendline("next")
    child.expect(r"\['slow', .*, 'next'\]")  # what was said before it was stopped is kept
    child.expect("> ")
    interrupt(child)
    child.expect("once more leaves")
    child.expect("> ")
    interrupt(child)
    assert leaves(child) == 130


@pytest.mark.fault("F58")
def test_ctrl_c_after_a_stopped_answer_leaves(terminal) -> None:
    child = terminal([FAKE])
    child.expect("> ")
    child.sendline("slow")
    child.expect(r"\.\.\.\.")
    child.sendintr()
    child.expect("stopped")
    child.expect("> ")
    interrupt(child)
    assert leaves(child) == 130


def test_ctrl_c_drops_what_is_typed_and_a_message_makes_it_a_first_one_again(terminal) -> None:
    child = terminal([FAKE])
    child.expect("> ")
    child.send("half a mess")
    child.expect("half a mess")
    interrupt(child)
    child.expect("once more leaves")
    child.expect("> ")
    child.sendline("whole")
    child.expect(r"\['whole'\]")
    child.expect("> ")
    interrupt(child)
    child.expect("once more leaves")
    child.expect("> ")
    interrupt(child)
    assert leaves(child) == 130


def test_a_speech_model_is_refused_before_anything_is_typed(terminal, speech_folder: Path) -> None:
    child = terminal(["-m", "cactus.cli.main", "run", str(speech_folder)])
    assert leaves(child) == 1
    assert "(whisper) cannot chat" in child.before and "> " not in child.before


def test_a_closed_terminal_ends_the_chat(terminal) -> None:
    child = terminal([FAKE])
    child.expect("> ")
    child.kill(signal.SIGHUP)
    child.expect(pexpect.EOF)
    child.wait()
    assert child.signalstatus == signal.SIGHUP


def test_a_pasted_text_of_several_lines_is_one_message(terminal) -> None:
    child = terminal([FAKE])
    child.expect("> ")
    child.send(PASTE.format("first line\nsecond line\n\nthird"))
    child.send("\r")
    child.expect(re.escape(r"['first line\nsecond line\n\nthird']"))
    child.expect("> ")
    child.sendline("/exit")
    assert leaves(child) == 0


def test_lines_that_arrive_together_are_one_message_without_bracketed_paste(terminal) -> None:
    child = terminal([FAKE], INPUTRC="/dev/null", TERM="dumb")
    child.expect("> ")
    child.send("first line\nsecond line\n")
    child.expect(re.escape(r"['first line\nsecond line']"))


@pytest.mark.fault("F80")
def test_the_screen_shows_no_control_sequences(terminal) -> None:
    child = terminal([FAKE])
    screen = pyte.Screen(80, 24)
    stream = pyte.Stream(screen)
    child.expect("> ")
    stream.feed(child.before + child.after)
    child.sendline("grüße 🌵")
    child.expect("first token after 0 ms]")
    stream.feed(child.before + child.after)
    shown = "\n".join(line.rstrip() for line in screen.display).strip()
    assert shown.splitlines()[0].startswith("> grüße")
    assert "['grüße" in shown and "[7 tokens" in shown and "\x1b" not in shown


def test_the_real_command_answers_stops_and_goes_on(terminal, starter_folder: Path) -> None:
    child = terminal(
        ["-m", "cactus.cli.main", "run", str(starter_folder), "--greedy", "--max-tokens", "3000"]
    )
    child.expect("/help lists the commands")
    child.expect("> ")
    child.sendline("What is the capital of France?")
    child.expect("Paris")
    child.expect(r"\[\d+ tokens, [\d.]+ tok/s, first token after \d+ ms\]")
    child.expect("> ")
    child.sendline("Write a very long story about a lighthouse, with many chapters.")
    child.expect("chapters.\r\n")  # the echo of what was typed
    child.expect(r"[a-z]{3}")
    child.sendintr()
    child.expect(r"\[stopped; ")
    child.expect("> ")
    child.sendline("What is the capital of Italy? One word.")
    child.expect("Rome")
    child.expect(r"tok/s")
    child.expect("> ")
    child.sendline("/exit")
    assert leaves(child) == 0


@pytest.mark.fault("F58")
def test_ctrl_c_twice_while_it_answers_leaves(terminal) -> None:
    child = terminal([FAKE])
    child.expect("> ")
    child.sendline("slow and stubborn")
    child.expect(r"\.\.\.\.")
    child.sendintr()
    child.expect(r"\.\.\.\.")
    child.sendintr()
    assert leaves(child) == 130
    assert "Traceback" not in child.before


def test_thoughts_are_dimmed_and_apart_from_the_answer(terminal) -> None:
    child = terminal([FAKE])
    child.expect("> ")
    child.sendline("ponder this")
    child.expect("first token after 0 ms")
    shown = child.before
    assert "\x1b[31m" not in shown
    plain = re.sub(r"\x1b\[[0-9;?]*[a-z]", "", shown)
    assert "Well,\r\n[31mlet me see\r\n\r\n['ponder this']\r\n[7 tokens" in plain
    dimmed = "".join(re.findall(r"\x1b\[2m(.*?)\x1b\[0m", shown, re.S))
    assert dimmed == "Well,\r\n[31mlet me see"
    child.expect("> ")
    child.sendline("next")  # the model is given what it thought
    child.expect(re.escape(r"'next'] after 'Well,\n\x1b[31mlet me see'"))
    child.expect("> ")
    child.sendline("/exit")
    assert leaves(child) == 0


def test_thoughts_go_to_stderr_and_can_be_switched_off(
    starter_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "thinker"
    folder.mkdir()
    for path in starter_folder.iterdir():
        (folder / path.name).symlink_to(path)
    template = Path(__file__).parent.parent / "chat" / "templates" / "opened.jinja"
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.jinja").write_text(template.read_text())

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = ["-m", "cactus.cli.main", "run", str(folder), "--greedy", "--max-tokens", "12"]
        return subprocess.run(
            [sys.executable, *command, "-p", "What is the capital of France?", *options],
            capture_output=True,
            text=True,
            timeout=60,
        )

    thought = run()
    assert thought.returncode == 0 and thought.stdout == "\n"
    assert thought.stderr.startswith("The capital of France is Paris.\n[7 tokens, ")
    quiet = run("--quiet")
    assert (quiet.stdout, quiet.stderr) == ("\n", "")
    answered = run("--no-think", "--quiet")
    assert re.search(r"\w", answered.stdout) and answered.stderr == ""
