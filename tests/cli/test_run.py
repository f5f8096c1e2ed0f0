"""`cactus run` with one prompt: where the words come from, and which of two arguments they are."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from cactus.cli.main import run_cli
from cactus.cli.run import _is_a_prompt

PROMPT_OF = (
    "import sys; from cactus.cli.prompt import prompt_of;"
    "words, _, option = sys.argv[1].partition('|');"
    "print(repr(prompt_of(tuple(words.split('+')) if words else (), option or None)))"
)


def asked(words: str = "", option: str = "", **streams: object) -> str:
    """The prompt that comes of the words, --prompt and a real standard input, or the error."""
    command = [sys.executable, "-c", PROMPT_OF, f"{words}|{option}"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60, **streams)
    return (done.stdout or done.stderr).decode().strip().splitlines()[-1]


def test_piped_text_stands_before_what_is_asked_about_it() -> None:
    text = b"The meeting is on Tuesday.\n"
    together = "'The meeting is on Tuesday.\\n\\nWhen is it?'"
    assert asked(option="When is it?", input=text) == together
    assert asked(words="When+is+it?", input=text) == together
    assert asked(input=text) == asked(option="-", input=text) == repr(text.decode())


def test_a_file_on_standard_input_is_read_and_a_device_is_not(tmp_path: Path) -> None:
    (tmp_path / "notes").write_bytes(b"notes")
    with (tmp_path / "notes").open("rb") as file:
        assert asked(option="hi", stdin=file) == "'notes\\n\\nhi'"
    assert asked(option="hi", stdin=subprocess.DEVNULL) == "'hi'"
    assert asked(option="hi", input=b"") == asked(option="hi", input=b" \n") == "'hi'"


def test_no_prompt_two_prompts_and_bytes_are_refused() -> None:
    assert asked(input=b" ").endswith("The prompt is empty.")
    assert asked(words="hi", option="hi").endswith("as words and with --prompt.")
    assert asked(option="hi", input=b"ab\xff").endswith("byte 0xff at offset 2.")


def test_a_pipe_that_stays_open_is_mentioned(tmp_path: Path) -> None:
    impatient = f"from cactus.cli import prompt; prompt.PATIENCE = 0.1; {PROMPT_OF}"
    with subprocess.Popen(
        [sys.executable, "-c", impatient, "|hi"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stderr is not None and child.stdin is not None
        assert b"waiting for the end of standard input" in child.stderr.readline()
        child.stdin.close()
        assert child.wait() == 0


@pytest.mark.parametrize("words", [["hello"], ["What", "is", "a", "cactus?"]])
def test_words_that_name_no_model_are_shown_as_a_prompt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, words
) -> None:
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path))
    assert run_cli(["run", *words]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f'cactus: no model "{words[0]}"')
    assert said.endswith(f'cactus run -p "{" ".join(words)}"\n')
    assert run_cli(["run", "./nothing", *words]) == 1
    assert "run -p" not in capsys.readouterr().err


def test_one_argument_with_spaces_is_a_prompt_unless_it_names_something(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a folder").mkdir()
    assert _is_a_prompt("What is 2+2?")
    for name in ("smollm2", "a folder", "./no such folder", "my model.gguf", ""):
        assert not _is_a_prompt(name)


def test_the_starter_answers_about_what_is_piped_in(starter_folder: Path) -> None:
    command = [sys.executable, "-m", "cactus", "run", "-q", "--greedy", str(starter_folder)]
    text = "The meeting is on Tuesday."
    for more in (["-p", "When is it?"], ["When is it?"], ["When", "is", "it?"]):
        done = subprocess.run([*command, *more], input=text, capture_output=True, text=True)
        assert done.returncode == 0 and "Tuesday" in done.stdout


def test_the_starter_does_not_loop_and_a_seed_repeats_it(starter_folder: Path) -> None:
    command = [sys.executable, "-m", "cactus", "run", str(starter_folder), "Tell me about cacti."]
    whole, beginning = (
        subprocess.run([*command, "--seed", "3", *more], capture_output=True, text=True, check=True)
        for more in ((), ("--max-tokens", "100"))
    )
    assert len(beginning.stdout) > 200
    assert whole.stdout.startswith(beginning.stdout.rstrip())
    sentences = Counter(re.split(r"[.!?\n]+", whole.stdout))
    assert max(count for sentence, count in sentences.items() if len(sentence) > 20) < 4


def test_a_loop_is_ended_and_said(starter_folder: Path) -> None:
    command = [sys.executable, "-m", "cactus", "run", str(starter_folder), "Tell me about cacti."]
    greedy = [*command, "--greedy", "--max-tokens", "1500"]
    done = subprocess.run(greedy, capture_output=True, text=True, check=True)
    assert "ended because it only repeated itself" in done.stderr
    tokens = int(done.stderr.lstrip("[").partition(" ")[0])
    endless = [*greedy[:-1], str(tokens + 20), "--no-stop-loops"]
    done = subprocess.run(endless, capture_output=True, text=True, check=True)
    assert f"cut at --max-tokens {tokens + 20}" in done.stderr


def test_greedy_and_a_temperature_exclude_each_other() -> None:
    command = [sys.executable, "-m", "cactus", "run", "--greedy", "--temperature", "1", "-p", "x"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--greedy and --temperature" in done.stderr
