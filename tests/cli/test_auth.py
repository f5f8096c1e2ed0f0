"""`cactus auth`, in a terminal and in scripts; `cactus run --cloud`."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cactus.confidence.calibration import Calibration, Fit
from cactus.confidence.store import write_calibration
from tests.cli.terminal import Terminal
from tests.cloud_server import KEY, CloudServer, refuses, serve, tells

URL = "https://example.com/v1"
LOCAL = "http://localhost:11434/v1"


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("API_KEY", "BASE_URL", "MODEL"):
        monkeypatch.delenv(f"CACTUS_CLOUD_{name}", raising=False)
    monkeypatch.delenv("CACTUS_NO_CLOUD", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    # The developer's own keyring is left alone.
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    return tmp_path


def stored(home: Path) -> Path:
    (found,) = home.rglob("cloud.json")
    return found


def auth(*arguments: str, text: str = "") -> tuple[int, str, str]:
    command = [sys.executable, "-m", "cactus", "auth", *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.fault("F79")
def test_it_asks_on_a_terminal_and_shows_no_key(home: Path) -> None:
    terminal = Terminal(90, "auth")
    terminal.wait_for(lambda: any("API key" in line for line in terminal.lines))
    arguments = Path(f"/proc/{terminal.child.pid}/cmdline")
    terminal.child.sendline(KEY)
    terminal.wait_for(
        lambda: any("Address [https://api.openai.com/v1]" in x for x in terminal.lines)
    )
    terminal.child.sendline("http://example.com")
    terminal.wait_for(lambda: any("must begin with https://" in x for x in terminal.lines))
    terminal.child.sendline(URL)
    terminal.wait_for(lambda: any(line.startswith("Model") for line in terminal.lines))
    if arguments.exists():
        assert KEY.encode() not in arguments.read_bytes()
    terminal.child.sendline("large")
    assert terminal.leave() == 0
    screen = "\n".join(terminal.lines)
    assert "Stored in" in screen and "large at example.com is asked" in screen
    assert KEY[:8] not in screen
    assert stat.S_IMODE(stored(home).stat().st_mode) == 0o600
    assert KEY in stored(home).read_text("utf-8")
    status, out, _ = auth("--status")
    assert status == 0 and URL in out and "large" in out and "…wxyz" in out
    assert str(stored(home)) in out.replace("\n", "") and KEY[:8] not in out


def test_ctrl_c_stores_nothing_and_the_terminal_echoes_again(home: Path) -> None:
    terminal = Terminal(90, "auth")
    terminal.wait_for(lambda: any("API key" in line for line in terminal.lines))
    terminal.child.sendintr()
    assert terminal.leave() == 130
    assert list(home.rglob("cloud.json")) == []


@pytest.mark.fault("F79")
def test_scripts_give_the_key_on_standard_input(home: Path) -> None:
    status, out, err = auth("--key-stdin", "--base-url", URL, "--model", "m", text=KEY + "\n")
    assert status == 0 and out.startswith("Stored in ") and KEY not in out + err
    assert stat.S_IMODE(stored(home).stat().st_mode) == 0o600
    assert auth("--clear")[:2] == (0, "Deleted.\n")
    assert list(home.rglob("cloud.json")) == []
    assert auth("--clear")[:2] == (0, "Nothing is stored.\n")
    status, out, _ = auth("--status")
    assert (status, out) == (1, "No cloud is set up: nothing is asked elsewhere.\n")


def test_a_service_of_this_machine_is_set_up_without_a_key_and_without_a_terminal(
    home: Path,
) -> None:
    status, out, err = auth("--base-url", LOCAL, "--model", "llama3")
    assert status == 0 and out.startswith("Stored in ") and "localhost:11434 is asked" in err
    told = auth("--status")[1]
    assert LOCAL in told and "none" in told and "llama3" in told


@pytest.mark.parametrize(
    ("arguments", "text", "words"),
    [
        ((), "", "not a terminal: give --key-stdin and --model.\n"),
        (("--model", "m"), "", "not a terminal: give --key-stdin.\n"),
        (("--base-url", LOCAL), "", "not a terminal: give --model.\n"),
        (("--key-stdin",), KEY, "Error: --key-stdin asks nothing: give --model.\n"),
        (("--key-stdin", "--model", "m"), "", "no API key, and api.openai.com needs one\n"),
        (("--key-stdin", "--model", "m"), "two words", "characters"),
        (("--key-stdin", "--model", "m", "--base-url", "http://x.org"), KEY, "https://"),
        (("--status", "--clear"), "", "exclude each other"),
        (("--status", "--model", "m"), "", "for setting up"),
        (("--key", KEY), "", "--key-stdin"),
    ],
)
def test_what_cannot_be_stored_is_refused(
    home: Path, arguments: tuple[str, ...], text: str, words: str
) -> None:
    status, out, err = auth(*arguments, text=text)
    assert status in (1, 2) and words in err and out == ""
    assert "Traceback" not in err and (KEY not in err or KEY in arguments)
    assert list(home.rglob("cloud.json")) == []


def test_status_says_what_is_wrong_and_what_comes_first(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth("--key-stdin", "--base-url", URL, "--model", "m", text=KEY)
    stored(home).chmod(0o644)
    status, _, err = auth("--status")
    assert status == 1 and "chmod 600" in err and KEY not in err
    monkeypatch.setenv("CACTUS_CLOUD_API_KEY", "another-key-0123456789")
    monkeypatch.setenv("CACTUS_CLOUD_MODEL", "other")
    monkeypatch.setenv("CACTUS_NO_CLOUD", "1")
    status, out, err = auth("--status")
    assert status == 0 and "…6789" in out and "the environment" in out
    assert "CACTUS_NO_CLOUD is set" in err


# -- the chat


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudServer]:
    with serve(tmp_path) as found:
        monkeypatch.setenv("CACTUS_CLOUD_API_KEY", KEY)
        monkeypatch.setenv("CACTUS_CLOUD_BASE_URL", found.url)
        monkeypatch.setenv("CACTUS_CLOUD_MODEL", "large")
        monkeypatch.setenv("SSL_CERT_FILE", str(found.authority))
        monkeypatch.setenv("CACTUS_LOG", "debug")
        yield found


def chat(folder: Path, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "cactus", "run", str(folder), "--max-tokens", "12"]
    done = subprocess.run(
        [*command, *arguments, "-p", "Hello"],
        capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.mark.fault("F80")
def test_the_chat_shows_whose_answer_it_is_and_no_controls(
    server: CloudServer, tiny_model: Path
) -> None:
    server.behave(tells("from \x1b[2J\x07the ", "cloud\x9b31m\n\tx"))
    status, out, err = chat(tiny_model, "--cloud", "-q")
    assert (status, out) == (0, "from [2Jthe cloud31m\n\tx\n")
    assert "answered by large at localhost" in err
    assert KEY not in err and "\x1b[2J" not in err
    assert server.last.body["messages"][-1] == {"role": "user", "content": "Hello"}


@pytest.mark.fault("F76")
def test_the_chat_says_why_the_cloud_gave_no_answer(server: CloudServer, tiny_model: Path) -> None:
    server.behave(refuses(401, f"wrong key {KEY}\nERROR cactus: \x1b[31mfake"))
    status, out, err = chat(tiny_model, "--cloud")
    assert status == 0 and out.strip()
    assert "the cloud gave no answer" in err and "wrong key …wxyz" in err
    assert KEY not in err and "\nERROR" not in err and "\x1b[31m" not in err


@pytest.mark.fault("F78")
def test_the_chat_asks_nobody_unless_told_to(server: CloudServer, tiny_model: Path) -> None:
    status, out, _ = chat(tiny_model)
    assert status == 0 and out.strip() and server.received == []
    status, out, err = chat(tiny_model, "--confidence-threshold", "0.99")
    assert status == 1 and "the model is unsure" in err and server.received == []


@pytest.fixture
def calibrated(tiny_model: Path, tmp_path: Path) -> Path:
    """A model that is right in one of eight cases, whatever it says."""
    folder = shutil.copytree(tiny_model, tmp_path / "calibrated")
    write_calibration(folder, Calibration((Fit({}, -2.0),), 100, 0.5))
    return folder


def test_a_whole_answer_that_the_model_is_unsure_of_is_not_said_to_be_cut(
    calibrated: Path, tiny_model: Path
) -> None:
    status, out, err = chat(calibrated, "--confidence-threshold", "0.5")
    assert status == 1 and out.strip() and "ended there" not in err
    assert "the model is unsure of this answer (confidence 0.12); 'cactus auth' and" in err
    assert "its answer ended there" in chat(tiny_model, "--confidence-threshold", "0.99")[2]


def test_what_no_terminal_shows_is_whole_before_it_is_too_late_for_the_cloud(
    server: CloudServer, calibrated: Path, tmp_path: Path
) -> None:
    server.behave(tells("from the ", "cloud"))
    status, out, err = chat(calibrated, "--cloud", "-q", "--system", "x")
    assert (status, out) == (0, "from the cloud\n") and "answered by large" in err
    server.behave(refuses(401))
    status, out, err = chat(calibrated, "--cloud")
    assert status == 0 and out.strip() and "the cloud gave no answer" in err
    (tmp_path / "tools.py").write_text('def weather() -> str:\n    """Weather."""\n    return ""\n')
    server.behave(tells("from the ", "cloud"))
    status, out, err = chat(
        calibrated, "--cloud", "--tools", str(tmp_path / "tools.py"), "--yes", "-q"
    )
    assert (status, out) == (0, "from the cloud\n") and "answered by large" in err


def test_a_cloud_that_is_not_there_or_not_allowed_is_refused(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "'cactus auth' sets one up" in chat(tiny_model, "--cloud")[2]
    assert "exclude each other" in chat(tiny_model, "--cloud", "--offline")[2]
    monkeypatch.setenv("CACTUS_CLOUD_API_KEY", KEY)
    monkeypatch.setenv("CACTUS_CLOUD_MODEL", "large")
    monkeypatch.setenv("CACTUS_NO_CLOUD", "1")
    assert "CACTUS_NO_CLOUD" in chat(tiny_model, "--cloud")[2]


@pytest.mark.fault("F80")
def test_the_log_keeps_every_message_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    import logging

    from cactus.cli.main import _start_log

    log = logging.getLogger("cactus")
    before = log.handlers[:], log.level
    try:
        os.environ["CACTUS_LOG"] = "info"
        _start_log()
        logging.getLogger("cactus.x").info("a %s", "name\n2026 ERROR fake \x1b[31m\x9b é")
    finally:
        del os.environ["CACTUS_LOG"]
        log.handlers[:], level = before
        log.setLevel(level)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].endswith(r"a name\n2026 ERROR fake \x1b[31m\x9b é")
