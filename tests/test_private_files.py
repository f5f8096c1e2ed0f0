"""What holds texts or keys is for its owner alone, whatever the umask, as SECURITY.md promises."""

from __future__ import annotations

import os
import re
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cactus import Corpus
from cactus.cli.lines import _append_history, _read_history
from cactus.cloud.secret import Secret
from cactus.cloud.store import save, settings_file
from cactus.server import listen, state
from tests.retrieval.made import WordEmbedder

ROOT = Path(__file__).resolve().parent.parent

pytestmark = [
    pytest.mark.fault("F79"),
    pytest.mark.skipif(sys.platform == "win32", reason="has other permissions"),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's folders, of a user whose umask hides nothing."""
    for name in ("CACHE_HOME", "CONFIG_HOME", "STATE_HOME", "RUNTIME_DIR"):
        monkeypatch.setenv(f"XDG_{name}", str(tmp_path / name))
    (tmp_path / "RUNTIME_DIR").mkdir()
    monkeypatch.setattr("cactus.cloud.store._keyring", lambda: None)
    before = os.umask(0)
    yield tmp_path
    os.umask(before)


def seen_by_others(folder: Path) -> list[str]:
    """Files with something in them that other users can open: no folder above is closed to them."""
    found = []
    for path in folder.rglob("*"):
        inside = [path, *path.relative_to(folder).parents]
        closed = any(
            not stat.S_IMODE((folder / part).lstat().st_mode) & 0o077
            for part in inside
            if part != Path(".")
        )
        if path.is_file() and path.stat().st_size and not closed:
            found.append(str(path.relative_to(folder)))
    return found


def test_an_index_and_what_is_beside_it(home: Path) -> None:
    documents = home / "documents"
    documents.mkdir(mode=0o700)
    (documents / "a.md").write_text("The code of the safe is 1234.")
    with Corpus(documents, embedder=WordEmbedder()) as corpus:
        while_open = [path for path in (home / "CACHE_HOME").rglob("*.sqlite*")]
        assert corpus.search("safe") and len(while_open) >= 2  # and its log
        assert all(not stat.S_IMODE(path.stat().st_mode) & 0o077
                   for path in while_open if path.stat().st_size)  # fmt: skip
        assert seen_by_others(home) == []
    assert seen_by_others(home) == []


def test_the_history_of_chats(home: Path) -> None:
    file = home / "STATE_HOME" / "cactus" / "history.jsonl"
    for number in range(5000):
        _append_history(file, f"message {number}")
        if number in (0, 4999):
            assert _read_history(file)[-1] == f"message {number}"
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert seen_by_others(home) == []


def test_the_settings_of_the_cloud(home: Path) -> None:
    save("https://api.example.com/v1", "large", Secret("sk-secret"))
    assert "sk-secret" in settings_file().read_text()
    assert seen_by_others(home) == []


def test_tokens_of_running_servers(home: Path) -> None:
    state.write(state.Known(os.getpid(), "http://127.0.0.1:1", "token"))
    assert len(state.servers()) == 1
    assert seen_by_others(home) == []


def test_the_socket_of_a_server(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with closing(listen._unix(tmp_path / "socket")) as made:
            assert made.family == socket.AF_UNIX
            assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == 0o600
        assert os.umask(0) == 0  # as it was
    finally:
        os.umask(before)


def test_what_others_can_read_is_found(home: Path) -> None:
    (home / "CACHE_HOME").mkdir()
    (home / "CACHE_HOME" / "open").write_text("text")
    (home / "CACHE_HOME" / "empty").touch()
    assert seen_by_others(home) == ["CACHE_HOME/open"]


def test_what_security_names_is_there() -> None:
    said = (ROOT / "SECURITY.md").read_text("utf-8")
    for name in re.findall(r"`((?:tests|tools|packaging)/[\w./-]+)`", said):
        assert (ROOT / name).exists(), name
    for fault in re.findall(r"\bF\d\d\b", said):
        assert f"| {fault} |" in (ROOT / "docs" / "robustness.md").read_text("utf-8")
