"""The commands of a chat and its history, in a real terminal."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest

FAKE = str(Path(__file__).with_name("fake_chat.py"))
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\r")


class Talk:
    """A chat that is talked to: `say` gives what is shown until the next prompt."""

    def __init__(self, state: Path, *arguments: str, columns: int = 200, **variables: str) -> None:
        environment = {**os.environ, "TERM": "xterm", "XDG_STATE_HOME": str(state)}
        environment |= {"INPUTRC": "/dev/null", **variables}
        self.child = pexpect.spawn(
            sys.executable, [FAKE, *arguments],
            env=environment, encoding="utf-8", timeout=20, dimensions=(24, columns),
        )  # fmt: skip
        self.child.delaybeforesend = None
        self._prompt()

    def _prompt(self) -> str:
        self.child.expect_exact("\x1b[1m> \x1b[0m")
        return CONTROLS.sub("", self.child.before)

    def say(self, *lines: str) -> str:
        for line in lines[:-1]:
            self.child.sendline(line)
            self.child.expect_exact("\x1b[1m. \x1b[0m")
        self.child.sendline(lines[-1])
        return self._prompt().partition("\n")[2].strip()

    def answer(self, *lines: str) -> str:
        return self.say(*lines).rpartition("\n")[0]

    def leave(self, word: str = "/bye") -> None:
        self.child.sendline(word)
        self.child.expect(pexpect.EOF)
        self.child.wait()
        assert self.child.exitstatus == 0


@pytest.fixture
def talk(tmp_path: Path, tiny_model: Path) -> Iterator[Callable[..., Talk]]:
    talks: list[Talk] = []

    def start(*arguments: str, **options: Any) -> Talk:
        talks.append(Talk(tmp_path / "state", *arguments, str(tiny_model), **options))
        return talks[-1]

    yield start
    for each in talks:
        each.child.close(force=True)


@pytest.mark.parametrize("word", ["/bye", "/exit", "/quit"])
def test_words_that_leave(talk, word: str) -> None:
    talk().leave(word)


def test_help_names_every_command(talk) -> None:
    from cactus.cli.slash import COMMANDS

    chat = talk()
    told = chat.say("/?")
    assert told == chat.say("/help")
    assert all(command.usage in told for command in COMMANDS.values())


def test_undo_and_retry_change_what_the_model_is_told(talk) -> None:
    chat = talk()
    assert chat.say("/undo") == "[There is nothing to take back.]"
    assert chat.say("/retry") == "[There is nothing to ask again.]"
    chat.say("one")
    assert chat.answer("/retry") == "['one']"
    assert chat.say("/undo") == "[Taken back: one]"
    assert chat.answer("two") == "['two']"


def test_the_system_message_and_clear(talk) -> None:
    chat = talk()
    assert "is set" in chat.say('/set system "Be brief."')
    assert chat.say("/system") == chat.say("/show system") == "Be brief."
    chat.say("one")
    assert chat.say("/clear") == "[The conversation is forgotten.]"
    assert chat.answer("two") == "['Be brief.', 'two']"


def test_settings_are_shown_changed_and_checked(talk) -> None:
    chat = talk()
    assert re.search(r"max_tokens +512\n", chat.say("/set"))
    assert chat.say("/set") == chat.say("/show parameters")
    assert chat.say("/set parameter temperature 0.7") == "[temperature: 0.7]"
    assert chat.say("/set num_predict 9") == "[max_tokens: 9]"
    assert chat.say("/set max_tokens default") == "[max_tokens: 512]"
    assert chat.say("/set nowordwrap") == "[wrap: off]"
    assert chat.say("/think off") == "[thinking: off]"
    assert "must be a number of 0 or more, got '-1'" in chat.say("/set temperature -1")
    assert "did you mean temperature?" in chat.say("/set temprature 1")
    assert chat.say("/set temperature") == "temperature  0.7"


@pytest.mark.parametrize("command", ["/think", "/think on", "/set thinking on"])
def test_a_model_that_cannot_think_refuses_the_switch_at_once(
    tiny_model: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from cactus import Model
    from cactus.cli import slash
    from cactus.cli.chat import Chat
    from cactus.cli.run import chat_settings

    with Model(tiny_model) as model:
        chat = Chat(model, tiny_model, settings=chat_settings())
        slash.run_command(chat, command)
        said = capsys.readouterr().err
        assert "does not think before it answers" in said and "thinking: on" not in said
        assert chat.setting("thinking") == "as the model does"
        slash.run_command(chat, "/set thinking default")
        assert "[thinking: as the model does]" in capsys.readouterr().err


def test_a_chat_with_think_ends_at_once_where_the_model_cannot(tiny_model: Path) -> None:
    command = ["-m", "cactus.cli.main", "run", "--think", "--no-history", str(tiny_model)]
    child = pexpect.spawn(sys.executable, command, encoding="utf-8", timeout=60)
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 1 and "does not think before it answers" in child.before


def test_the_models_own_sampling_is_shown_and_can_be_overridden(talk) -> None:
    chat = talk()
    told = chat.say("/show parameters")
    assert re.search(r"^sampling +model$", told, re.M)
    assert re.search(r"^temperature +0\.6 \(the model's own\)$", told, re.M)
    assert re.search(r"^top_p +0\.9 \(the model's own\)$", told, re.M)
    assert chat.say("/set top_p 0.5") == "[top_p: 0.5]"
    assert chat.say("/set top_p default") == "[top_p: 0.9 (the model's own)]"
    assert chat.say("/set sampling greedy") == "[sampling: greedy]"
    assert chat.say("/set temperature") == "temperature  0"
    assert "'loud' is not one of" in chat.say("/set sampling loud")


def test_an_answer_that_repeats_itself_says_so(talk) -> None:
    assert "ended because it only repeated itself" in talk().say("over and over")


def test_the_model_is_shown(talk, tiny_model: Path) -> None:
    chat = talk()
    told = chat.say("/show")
    assert told.splitlines()[0] == tiny_model.name and "llama" in told and "512 tokens" in told
    assert "add_generation_prompt" in chat.say("/show template")
    assert "no license" in chat.say("/show license")
    assert "there are info, parameters" in chat.say("/show modelfile")


def test_a_conversation_is_saved_and_loaded(talk, tmp_path: Path) -> None:
    file = tmp_path / "saved chat.json"
    chat = talk()
    chat.say("/system Be brief.")
    chat.say("one")
    chat.say(f"/save {file}")
    roles = [message["role"] for message in json.loads(file.read_text())["messages"]]
    assert roles == ["system", "user", "assistant"]
    assert "is there already" in chat.say(f"/save {file}")
    lost = tmp_path / "no folder" / "chat.json"
    assert f'"{lost}": No such file or directory' in chat.say(f"/save {lost}")
    other = talk()
    assert "Loaded 1 turn; the last: one" in other.say(f"/load {file}")
    assert other.answer("two").startswith("['Be brief.', 'one', ")
    (tmp_path / "odd.json").write_text('{"messages": [{"role": "tool", "content": ""}]}')
    assert "is not a conversation" in other.say(f"/load {tmp_path / 'odd.json'}")
    assert "cactus run qwen" in other.say("/load qwen")


def test_a_message_of_several_typed_lines(talk) -> None:
    chat = talk()
    assert chat.answer('"""first', "second", 'third"""') == r"['first\nsecond\nthird']"
    assert chat.say("/reset") and chat.answer("one\\", "two") == r"['one\ntwo']"


def test_earlier_messages_come_back_in_the_next_chat(talk, tmp_path: Path) -> None:
    chat = talk("--history")
    chat.say('"""first', 'line"""')
    chat.say("the last one")
    chat.leave()
    file = tmp_path / "state" / "cactus" / "chat_history.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [json.loads(line) for line in file.read_text().splitlines()] == [
        '"""first\nline"""', "the last one", "/bye",
    ]  # fmt: skip
    chat = talk("--history")
    assert chat.answer("\x1b[A\x1b[A") == "['the last one']"
    assert chat.say("/set nohistory") == "[history: off]"
    chat.say("a secret")
    assert "a secret" not in file.read_text()


@pytest.mark.fault("F64")
def test_in_the_c_locale_messages_keep_their_characters(talk) -> None:
    for _ in range(2):  # the second time they are in the history
        chat = talk("--history", LC_ALL="C")
        assert chat.answer("ñandú 日本 🙂 ü\x7fy") == "['ñandú 日本 🙂 y']"
        chat.leave()


def test_a_dumb_terminal_gets_no_control_sequences(tmp_path: Path, tiny_model: Path) -> None:
    environment = {**os.environ, "TERM": "dumb", "INPUTRC": "/dev/null"}
    child = pexpect.spawn(
        sys.executable, [FAKE, str(tiny_model)], env=environment, encoding="utf-8", timeout=20
    )
    for line in ("one", "/help", "/bye"):
        child.expect_exact("> ")
        assert "\x1b" not in child.before
        child.sendline(line)
    child.expect(pexpect.EOF)
    assert "\x1b" not in child.before


def test_without_history_nothing_is_kept(talk, tmp_path: Path) -> None:
    chat = talk()
    chat.say("one")
    chat.leave()
    assert not (tmp_path / "state").exists()


def test_a_file_gets_the_answers_and_no_prompts(tmp_path: Path, tiny_model: Path) -> None:
    command = f'"{sys.executable}" "{FAKE}" "{tiny_model}" > answers'
    child = pexpect.spawn("sh", ["-c", command], cwd=tmp_path, encoding="utf-8", timeout=20)
    for line in ("one", "/bye"):
        child.expect_exact("> ")
        child.sendline(line)
    child.expect(pexpect.EOF)
    assert (tmp_path / "answers").read_text() == "['one']\n"


def test_tab_completes_commands_and_settings(talk) -> None:
    chat = talk()
    assert chat.say("/sho\t template").startswith("{% for m")
    assert chat.say("/set stop the end") == "[stop: the end]"
    assert chat.say("/set temp\t0.5") == "[temperature: 0.5]"


def test_an_answer_that_is_cut_says_where(talk) -> None:
    chat = talk()
    assert "cut at the end of the context (60 tokens)" in chat.say("length")
    chat.say("/set max_tokens 7")
    assert "cut at --max-tokens 7" in chat.say("length")


@pytest.mark.fault("F30")
def test_a_full_context_is_an_error_or_rolls_on(talk) -> None:
    chat = talk()
    chat.say("one")
    chat.say("two")
    assert "/set overflow roll forgets the oldest" in chat.say("too long")
    chat.say("/set overflow roll")
    told = chat.say("three")
    assert told.splitlines()[0] == "[The context is full: the oldest 2 turns are forgotten.]"
    assert told.splitlines()[1] == "['three']"


def test_words_are_whole_in_a_narrow_terminal(talk) -> None:
    chat = talk(columns=24)
    told = chat.say("Nobody breaks these words anywhere inside them.")
    rows = [row.strip() for row in told.splitlines()]
    assert any("anywhere inside" in row for row in rows) and all(len(row) < 24 for row in rows)
