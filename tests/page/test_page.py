"""The page in a real browser, before a real server with a tiny model.

The cases are in `cases/*.mjs`; what a model of random weights cannot say on purpose is recorded.
`CACTUS_PAGE_SHOTS` names a folder for a picture of what failed.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
import wave
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.page import kit

HERE = Path(__file__).parent

NAMES = [
    name
    for file in sorted((HERE / "cases").glob("*.mjs"))
    for name in re.findall(r'^page\(\s*"([^"]+)"', file.read_text(), re.MULTILINE)
]


@pytest.fixture(scope="module")
def server(
    tiny_model: Path,
    tiny_vlm: Path,
    speech_folder: Path,
    minilm: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """The address of ``cactus serve``, with all that it can have."""
    home = tmp_path_factory.mktemp("served")
    (home / "notes").mkdir()
    (home / "notes" / "rules.md").write_text(
        "# Rules\n\nDogs are allowed on a lead. Cats are not.\n"
    )
    (home / "tools.py").write_text(
        'def clock(zone: str = "UTC") -> str:\n    """The time of day."""\n    return "12:00"\n'
    )
    models = [str(each) for each in (tiny_model, tiny_vlm, speech_folder)]
    options = ["--docs", str(home / "notes"), "--tools", str(home / "tools.py")]
    command = [sys.executable, "-m", "cactus", "serve", *models, *options, "--port", "0"]
    environment = {**os.environ, "CACTUS_EMBEDDER": str(minilm)}
    process = subprocess.Popen(
        command, cwd=kit.ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().removeprefix("Cactus at ").strip() + "/"
        while not answers(address):
            assert process.poll() is None, "the server has ended"
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.communicate()


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}cactus/status"):
            return True
    except urllib.error.HTTPError:
        raise  # it answers, but not what it should
    except urllib.error.URLError:
        return False


@pytest.fixture(scope="module")
def tone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser's microphone hears."""
    path = tmp_path_factory.mktemp("sound") / "tone.wav"
    samples = array("h", (int(9000 * math.sin(i / 17)) for i in range(48_000)))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture(scope="module")
def browser(server: str, tone: Path) -> Iterator[Callable[[str], dict[str, str]]]:
    """Runs a case by its name."""
    node, page, chromium = kit.node(), kit.modules().parent, kit.chromium()
    command = [node, str(HERE / "runner.mjs"), str(page), chromium, server, str(tone)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def run(name: str) -> dict[str, str]:
        stdin.write(name + "\n")
        stdin.flush()
        return next_line()

    def next_line() -> dict[str, str]:
        line = stdout.readline()
        assert line, f"the runner has ended with {process.wait()}"
        said: dict[str, str] = json.loads(line)
        return said

    try:
        assert sorted(next_line()["ready"]) == sorted(NAMES)
        yield run
    finally:
        stdin.close()
        process.wait()
        stdout.close()


@pytest.mark.fault("F82")
@pytest.mark.parametrize("name", NAMES)
def test_the_page(browser: Callable[[str], dict[str, str]], name: str) -> None:
    said = browser(name)
    assert "error" not in said, said["error"]


def test_there_are_enough_cases() -> None:
    assert len(NAMES) >= 25 and len(set(NAMES)) == len(NAMES)
