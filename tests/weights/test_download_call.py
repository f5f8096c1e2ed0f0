"""`cactus.download` and `Model(download=True)`: what a program calls to have a model."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

import cactus
from cactus.api import cactus_init
from cactus.errors import InvalidRequest, ModelNotFound
from cactus.progress import chosen_progress

TINY = "acme/Tiny-Llama"


def test_a_model_is_fetched_and_its_folder_loads(server, root: Path) -> None:
    folder = cactus.download(TINY)
    assert folder == root / "tiny-llama"
    with cactus.Model(folder) as model:
        assert model.name == "tiny-llama"
    count = len(server.requests)
    assert cactus.download(TINY) == folder and len(server.requests) == count


def test_precision_and_revision_are_as_asked(server, root: Path, files) -> None:
    server.repos[TINY].revisions["v2"] = "b" * 40
    server.repos[TINY].commits["b" * 40] = files
    folder = cactus.download(TINY, precision="fp16", revision="v2")
    own = cactus.weights.locate.describe(folder)
    assert (own["precision"], own["source"]["commit"]) == ("FP16", "b" * 40)


def test_progress_is_told_to_a_function(server, root: Path, capfd) -> None:
    steps: list[tuple[str, int, int]] = []
    cactus.download(TINY, progress=lambda *step: steps.append(step))
    assert {label for label, _, _ in steps} >= {
        "downloading model.safetensors",
        f"converting {TINY}",
    }
    for label in ("downloading model.safetensors", f"converting {TINY}"):
        amounts = [(done, total) for name, done, total in steps if name == label]
        assert amounts == sorted(amounts) and amounts[-1][0] == amounts[-1][1] > 0
    assert capfd.readouterr() == ("", "")


def test_progress_is_in_the_log_where_there_is_no_terminal(server, root, caplog, capfd) -> None:
    with caplog.at_level(logging.INFO, "cactus.progress"):
        cactus.download(TINY)
    assert any(line.startswith("downloading model.safetensors") for line in caplog.messages)
    assert any(line == f"converting {TINY}: done" for line in caplog.messages)
    caplog.clear()
    with caplog.at_level(logging.INFO, "cactus.progress"):
        cactus.download(TINY, precision="FP16", progress=False)
    assert caplog.messages == [] and capfd.readouterr() == ("", "")


def test_true_shows_lines_where_there_is_no_terminal(server, root: Path, capfd) -> None:
    cactus.download(TINY, progress=True)
    assert f"converting {TINY}: done\n" in capfd.readouterr().err


def test_a_terminal_has_bars_once_it_takes_a_second() -> None:
    code = (
        "import sys, time\n"
        "from cactus.progress import chosen_progress\n"
        "for seconds in (0.0, 1.2):\n"
        "    with chosen_progress(None) as progress:\n"
        "        progress('converting', 1, 3)\n"
        "        time.sleep(seconds)\n"
        "        progress('converting', 3, 3)\n"
        "    print('---', file=sys.stderr)\n"
    )
    child = pexpect.spawn(sys.executable, ["-c", code], encoding="utf-8", dimensions=(24, 80))
    child.expect(pexpect.EOF)
    quick, slow, _ = child.before.split("---")
    assert "converting" not in quick and "converting" in slow and "━" in slow


def test_what_is_no_progress_is_an_error() -> None:
    with pytest.raises(InvalidRequest, match="progress must be a function, True, False or None"):
        cactus.download(TINY, progress=5)
    with chosen_progress(False) as progress:
        assert progress is None


@pytest.mark.parametrize(
    "options", [{"name": 5}, {"name": Path("x")}, {"precision": 4}, {"revision": b"x"}]
)
def test_an_option_of_another_type_is_an_error(options: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest, match=f"^{next(iter(options))} must be a string, got"):
        cactus.download(**{"name": TINY, **options})


def test_a_path_is_not_looked_for_on_the_hub(server) -> None:
    with pytest.raises(ModelNotFound, match="no such file or folder"):
        cactus.download("./here/tiny")
    assert server.requests == []


def test_a_model_is_fetched_when_it_is_loaded_only_if_asked(server, root: Path) -> None:
    with pytest.raises(ModelNotFound, match=f"cactus download {TINY}"):
        cactus.Model(TINY)
    assert cactus_init(TINY) is None and server.requests == []
    with cactus.Model(TINY, download=True) as model:
        assert model.name == "tiny-llama"
    count = len(server.requests)
    for asked in (False, True):
        cactus.Model(TINY, download=asked).close()
    assert len(server.requests) == count


@pytest.mark.fault("F70")
def test_a_model_that_is_here_opens_no_socket(server, root: Path, monkeypatch) -> None:
    cactus.download(TINY)

    def opened(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", opened)
    with cactus.Model(TINY, download=True):
        pass


def test_the_call_costs_a_program_nothing_until_it_is_made() -> None:
    code = (
        "import sys, cactus.model\n"
        "print([m for m in ('rich', 'httpx', 'huggingface_hub', 'cactus.weights.download')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
