"""The `cactus` command: help, mistakes, exit status, pipes."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from cactus import __version__, errors
from cactus.cli import commands, process
from cactus.cli.commands import COMMANDS, cactus
from cactus.cli.main import run_cli
from cactus.cli.text import megabytes, printable, whole_characters

COMMAND = [sys.executable, "-m", "cactus.cli.main"]

SPEECH_MODEL = "tiny-whisper (whisper) cannot chat: it can transcribe audio"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from cactus.cli.main import run_cli; run_cli(['--help']);"
        "print([m for m in ('numpy', 'httpx', 'rich', 'tokenizers', 'huggingface_hub', 'jinja2')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_nothing_slow_is_imported_before_interrupts_end_the_process() -> None:
    code = "import sys, cactus.cli.main; print(*sorted(m for m in sys.modules if 'cactus' in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own = {"cactus", "cactus.cli", "cactus.cli.main", "cactus.cli.process"}
    # An editable installation has a finder of its own.
    assert {name for name in done.stdout.split() if not name.startswith("_")} == own


def test_without_a_command_the_help_is_shown(run) -> None:
    status, out, _ = run()
    assert status == 0 and all(name in out for name in COMMANDS)


def test_version(run) -> None:
    assert run("--version") == (0, f"cactus {__version__}\n", "")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_help_that_the_list_shows(run, name: str) -> None:
    command = cactus.get_command(None, name)
    assert command.get_short_help_str(100) == COMMANDS[name][1]
    status, out, _ = run(name, "--help")
    assert status == 0 and out.startswith(f"Usage: cactus {name}")


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_no_line_of_the_help_is_wider_than_the_terminal(run, monkeypatch, name: str) -> None:
    for columns in (48, 51, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        _, out, _ = run(*name.split(), "--help")
        text = out.partition("\n\n")[2]  # behind the usage
        written = [line for line in text.splitlines() if "cactus " not in line]  # as it is typed
        assert max(map(len, written)) < columns


def test_names_that_other_programs_use_work(run) -> None:
    for name, ours in commands.ALIASES.items():
        status, out, _ = run(name, "--help")
        assert status == 0 and out.startswith(f"Usage: cactus {ours}")
    assert run("version") == run("-V") == run("--version")
    assert run("help") == run("--help")
    assert run("help", "ls") == run("list", "--help")


@pytest.mark.parametrize("name", commands.ELSEWHERE)
def test_what_is_not_here_gets_a_hint(run, name: str) -> None:
    status, out, err = run(name)
    assert (status, out) == (2, "") and err.endswith(f"'{name}'. {commands.ELSEWHERE[name]}\n")


def test_a_question_where_a_command_is_expected_gets_a_hint(run) -> None:
    status, _, err = run("What is a cactus?")
    assert status == 2 and 'cactus run "What is a cactus?"' in err


@pytest.mark.parametrize(
    ("typed", "meant"), [("rnu", "run"), ("downlaod", "download"), ("tests", "test")]
)
def test_a_typing_mistake_in_a_command_gets_the_nearest(run, typed: str, meant: str) -> None:
    status, _, err = run(typed)
    assert status == 2 and f"Did you mean '{meant}'?" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "--top-p", "x"], "'--top-p': must be a number from 0 to 1, got 'x'"),
        (["run", "--top-p", "2"], "'--top-p': must be a number from 0 to 1, got '2'"),
        (["run", "--temperature", "hot"], "must be a number of 0 or more, got 'hot'"),
        (["run", "--threads", "0"], "must be a whole number of 1 or more, got '0'"),
        (["transcribe", "--beam-size", "x"], "must be a whole number from 1 to 16, got 'x'"),
        (["bench", "--threads", "x"], "must be a whole number of 1 or more, got 'x'"),
    ],
)
def test_a_number_that_is_wrong_is_told_what_is_expected(run, arguments, expected: str) -> None:
    status, _, err = run(*arguments)
    assert status == 2 and expected in " ".join(err.split())


@pytest.mark.parametrize("given", ["--word-timestamps", "--word_timestamps", "--words-timestamps"])
def test_an_option_that_begins_like_another_hints_at_it(run, given: str) -> None:
    status, _, err = run("transcribe", given, "talk.wav")
    assert status == 2 and "--words" in err.replace(given, "")


@pytest.mark.fault("F80")
def test_a_strange_command_is_shown_without_its_control_characters(run) -> None:
    status, _, err = run("x\x1b[2Jy")
    assert status == 2 and "no command 'x[2Jy'" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "smolm2-135m-instruct", "-p", "x"], "did you mean smollm2-135m-instruct"),
        (["run", "/etc/passwd", "-p", "x"], "neither a weights folder nor a GGUF file"),
        (["bench", "no-such-model"], 'no model "no-such-model"'),
        (["download", "no-such-model"], 'no model "no-such-model"'),
        (["download", "acme/tiny", "--offline"], "downloads are switched off"),
        (["run", "acme/tiny", "--offline", "-p", "x"], "downloads are switched off"),
        (["clean", "no-such-model"], 'no model "no-such-model"'),
    ],
)
def test_a_users_mistake_is_one_line_that_helps(
    run, monkeypatch, tmp_path: Path, arguments: list[str], words: str
) -> None:
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path))
    status, out, err = run(*arguments)
    assert (status, out) == (1, "")
    assert words in err and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "-p", "hello"],
        ["run", "-p", "hello", "--context", "100"],
        ["bench"],
        ["eval", "--perplexity", __file__],
        ["eval", "--perplexity", __file__, "--context", "100"],
    ],
)
def test_what_reads_text_refuses_a_speech_model(run, speech_folder: Path, arguments) -> None:
    command, *options = arguments
    status, out, err = run(command, str(speech_folder), *options)
    assert (status, out) == (1, "") and err.startswith(f"cactus: {SPEECH_MODEL}")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--temperature", "-1"],
        ["run", "--max-tokens", "0"],
        ["run", "--frobnicate"],
        ["download", "x/y", "--precision", "INT3"],
        ["convert", "/no/such/file"],
        ["bench", "--threads", "none"],
    ],
)
def test_a_wrong_option_is_a_usage_error(run, arguments: list[str]) -> None:
    status, _, err = run(*arguments)
    assert status == 2 and err.startswith("Usage: cactus") and "Traceback" not in err


@pytest.mark.parametrize(
    ("raised", "status", "words"),
    [
        (errors.ModelFormatError("bad \x1b[31mfile"), 1, "cactus: bad [31mfile\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "Permission denied"),
        (MemoryError(), 1, "MemoryError"),
        (KeyboardInterrupt(), 130, "\n"),
    ],
)
def test_what_a_command_raises_becomes_a_status(
    run, monkeypatch, raised: BaseException, status: int, words: str
) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise raised

    monkeypatch.setattr(cactus, "invoke", fail)
    got, out, err = run("list")
    assert (got, out) == (status, "") and words in err


def test_a_defect_of_ours_keeps_its_trace(monkeypatch) -> None:
    def fail(*_args: object, **_kwargs: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(cactus, "invoke", fail)
    with pytest.raises(KeyError):
        run_cli(["list"])


@pytest.mark.fault("F58")
def test_a_reader_that_leaves_ends_the_command_quietly() -> None:
    # The pipe is closed before anything is written, which `| head` makes a matter of luck.
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, "list"], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.returncode == process.PIPE_CLOSED
    assert done.stderr == b""


@pytest.mark.fault("F58")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_defect(closed: str, tiny_model: Path) -> None:
    arguments = [*COMMAND, "run", str(tiny_model), "-q", "-p", "hi", "--max-tokens", "3"]
    line = f'"$@" {closed}'
    done = subprocess.run(
        ["sh", "-c", line, "sh", *arguments], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (">&-" not in closed.replace("2>&-", ""))


def test_a_mistake_with_closed_streams_is_a_status(tmp_path: Path) -> None:
    arguments = [*COMMAND, "run", str(tmp_path / "none"), "-p", "hi"]
    done = subprocess.run(["sh", "-c", '"$@" >&- 2>&-', "sh", *arguments], check=False)
    assert done.returncode == 1


@pytest.fixture
def cactus_named_model(tmp_path: Path) -> dict[str, str]:
    """The environment in which `cactus list` has a cactus to print."""
    folder = tmp_path / "weights" / "m"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(
        '{"model_type": "grüße", "cactus": {"precision": "🌵"}}', "utf-8"
    )
    return {**os.environ, "CACTUS_WEIGHTS": str(folder.parent)}


@pytest.mark.fault("F64")
@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_the_c_locale_does_not_change_what_is_written(cactus_named_model, locale: str) -> None:
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": locale}
    settings = {**cactus_named_model, **plain}
    done = subprocess.run([*COMMAND, "list"], env=settings, capture_output=True, check=False)
    assert done.returncode == 0 and "grüße         🌵 " in done.stdout.decode()


def test_a_file_that_cannot_have_a_character_is_an_error(cactus_named_model) -> None:
    settings = {**cactus_named_model, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run([*COMMAND, "list"], env=settings, capture_output=True, check=False)
    assert done.returncode == 1 and b"?" not in done.stdout
    assert b"the output is latin-1, which has no '\\U0001f335'" in done.stderr


def test_a_terminal_that_lacks_a_character_shows_its_number(cactus_named_model) -> None:
    settings = {**cactus_named_model, "PYTHONIOENCODING": "latin-1"}
    child = pexpect.spawn(COMMAND[0], [*COMMAND[1:], "list"], env=settings, dimensions=(24, 120))
    shown = child.read()
    child.wait()
    assert child.exitstatus == 0 and b"gr\xfc\xdfe         \\U0001f335" in shown


@pytest.mark.fault("F64")
@pytest.mark.parametrize(
    "changed",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "tr_TR.UTF-8"},
        {"LC_ALL": "de_DE.ISO-8859-1", "TZ": "Asia/Kathmandu"},
        {"HOME": None, "XDG_DATA_HOME": None, "XDG_CACHE_HOME": None},
        {"HOME": "/proc", "XDG_DATA_HOME": None},
    ],
    ids=["C", "Turkish", "German", "no home", "read-only home"],
)
def test_locale_and_home_may_be_odd(changed: dict[str, str | None], tmp_path, tiny_model) -> None:
    folder = tmp_path / "ein Ordner 🌵 ".ljust(200, "x")
    (folder / "weights").mkdir(parents=True)
    (folder / "weights" / "tiny").symlink_to(tiny_model)
    settings = {**os.environ, **changed}
    done = subprocess.run(
        [*COMMAND, "run", "tiny", "-p", "Grüße", "--max-tokens", "5"],
        cwd=folder, env={k: v for k, v in settings.items() if v is not None},
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b" tokens, " in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.fault("F80")
def test_control_characters_of_a_model_do_not_reach_the_terminal() -> None:
    assert printable("a\x1b[2J\x07b\r\n\tc\x9bd\x7f\x00é🌵") == "a[2Jb\n\tcdé🌵"


def test_what_python_could_not_decode_is_put_together_again() -> None:
    undecoded = "Grüße 🌵".encode().decode("ascii", "surrogateescape")
    assert whole_characters(undecoded) == whole_characters("Grüße 🌵") == "Grüße 🌵"
    assert whole_characters("\udcff") == "\ufffd"


def test_sizes_for_people() -> None:
    sizes = [0, 999, 41_234, 999_600, 98_362_432, 1_600_000_000]
    assert [megabytes(n) for n in sizes] == ["0 B", "999 B", "41 kB", "1 MB", "98 MB", "1.6 GB"]


@pytest.mark.fault("F58")
@pytest.mark.parametrize(
    "module", ["click", "cactus.cli.commands", "cactus.cli.list", "cactus.weights.locate"]
)
def test_ctrl_c_while_modules_are_imported_is_silent(module: str) -> None:
    code = (
        "import importlib.abc, os, signal, sys, time\n"
        "class Interrupt(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == {module!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "            time.sleep(20)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from cactus.cli.main import main\n"
        "sys.argv[1:] = ['list']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=15)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (process.INTERRUPTED, "", "")


@pytest.mark.parametrize("level", ["loud", "10"])
def test_a_level_that_the_log_does_not_have_is_refused(run, monkeypatch, level: str) -> None:
    monkeypatch.setenv("CACTUS_LOG", level)
    status, out, err = run("list")
    assert (status, out) == (2, "")
    assert "CACTUS_LOG must be debug, info, warning or error" in err and repr(level) in err


@pytest.mark.fault("F79")
def test_the_log_tells_what_was_done_and_nothing_that_was_said(tiny_model: Path) -> None:
    settings = {**os.environ, "CACTUS_LOG": "debug", "CACTUS_CLOUD_API_KEY": "sesame"}
    command = [*COMMAND, "run", str(tiny_model), "-q", "-p", "abracadabra", "--max-tokens", "3"]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert any("loaded tiny (llama, context 512" in line for line in lines)
    assert any("answer: " in line and "3 written" in line for line in lines)
    assert "abracadabra" not in done.stderr and "sesame" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("command", [["--help"], ["list"], ["completion", "bash"]])
def test_an_output_that_is_full_is_said_in_words(command: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*COMMAND, *command], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"cactus: No space left on device\n")


@pytest.mark.parametrize("kind", [str, os.fsencode, Path])
def test_a_file_that_the_system_refuses_is_named(run, monkeypatch, kind) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), kind("/there/model"))

    monkeypatch.setattr("cactus.weights.locate.entries", refuse)
    assert run("list")[2] == 'cactus: "/there/model": Read-only file system\n'


def test_a_source_that_is_not_there_and_names_a_model_can_be_fetched(run) -> None:
    status, _, err = run("convert", "Owner/Model")
    assert status == 2 and "SOURCE Owner/Model: there is no such file or folder." in err
    assert "'cactus download Owner/Model' fetches a model and converts it." in err
    assert "download" not in run("convert", "./nothing")[2]


@pytest.mark.parametrize(
    ("line", "said"),
    [("rerank q nothing", "Invalid value for 'FILE'"), ("completion", "Missing argument 'SHELL'")],
)
def test_an_argument_that_is_wrong_is_named_without_brackets(run, line: str, said: str) -> None:
    status, _, err = run(*line.split())
    assert status == 2 and said in err


@pytest.mark.parametrize("command", ["run", "show", "serve", "bench"])
def test_a_model_that_is_an_argument_is_called_that(run, command: str) -> None:
    status, _, err = run(command, "--model", "smollm2")
    assert status == 2 and "No such option '--model'. MODEL is an argument, without it." in err


def test_a_model_that_is_here_and_cannot_chat_is_said_to_be(
    run, monkeypatch, speech_folder: Path, tmp_path: Path
) -> None:
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path))
    shutil.copytree(speech_folder, tmp_path / "tiny-whisper")
    _, _, err = run("run", "tiny", "Hello, you.")
    assert err.startswith(f"cactus: {SPEECH_MODEL}")
