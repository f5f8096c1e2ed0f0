"""What docs/speech-server.md shows runs against a server."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from tests.server.running import serving

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "speech-server.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


@pytest.fixture(scope="module")
def home(
    tmp_path_factory: pytest.TempPathFactory,
    voices: Path,
    whisper_base_int8: Path,
    minilm: Path,
) -> Path:
    """A folder with the models and the recordings that the page names."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "whisper-base").symlink_to(whisper_base_int8)
    (folder / "all-minilm-l6-v2").symlink_to(minilm)
    (folder / "talk.mp3").symlink_to(voices / "librivox_0880.wav")
    samples, rate = soundfile.read(voices / "librivox_0880.wav", dtype="float32")
    samples = np.clip(soxr.resample(samples, rate, 24_000), -1, 1)
    soundfile.write(folder / "speech-24khz.wav", samples, 24_000, subtype="PCM_16")
    return folder


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    with serving(home / "whisper-base", home / "all-minilm-l6-v2") as running:
        yield running.url


@pytest.mark.filterwarnings("ignore:connect\\(\\) must be used:DeprecationWarning")  # by openai
def test_python(address: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    code = "\n".join(blocks("py")).replace("http://localhost:8080", address)
    printed = io.StringIO()
    names: dict[str, Any] = {}
    with redirect_stdout(printed):
        exec(code, names)
    names["client"].close()
    said = printed.getvalue()
    assert said.startswith("english He 0.") or said.startswith("english He ")
    assert said.lower().count("young man") == 2
    assert said.endswith("2 384\n")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl(address: str, home: Path) -> None:
    shown = [each for each in blocks("bash") if "rerank" not in each]
    script = "set -e\n" + "\n".join(shown).replace("http://localhost:8080", address)
    done = subprocess.run(
        ["bash", "-c", script], cwd=home, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.lower().count("young man") >= 3
    assert '"type":"transcript.text.done"' in done.stdout
    assert done.stdout.count('"embedding":[') == 2
