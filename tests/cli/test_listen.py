"""`cactus transcribe --mic` with devices of the test's own."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cactus import Model
from cactus.cli.main import run_cli
from cactus.cli.status_line import spoken_line
from cactus.cli.text import printable
from tests.audio.devices import MIC, Devices, Stream


class SpokenInto(Devices):
    """A microphone that hears a sound when it is opened, and then what `end` does."""

    def __init__(self, sound: np.ndarray, end: Callable[[Stream], None]) -> None:
        super().__init__(MIC, takes=((16_000, 1),))
        self.sound, self.end = sound, end
        self.speaker = threading.Thread(target=self.speak)

    def InputStream(self, **settings: object) -> Stream:
        stream = super().InputStream(**settings)
        self.speaker.start()
        return stream

    def speak(self) -> None:
        while not self.stream.active:
            time.sleep(0.01)
        for start in range(0, len(self.sound), 1600):
            self.stream.hear(self.sound[start : start + 1600])
        self.end(self.stream)


def ctrl_c(_: Stream) -> None:
    os.kill(os.getpid(), signal.SIGINT)


def unplug(stream: Stream) -> None:
    stream.active = False


@pytest.fixture
def listen(monkeypatch, capsys, speech_folder: Path, sound: np.ndarray):
    def call(end: Callable[[Stream], None], *arguments: str) -> tuple[int, str, str]:
        library = SpokenInto(sound, end)
        monkeypatch.setitem(sys.modules, "sounddevice", library)
        words = ["transcribe", "--mic", "--no-vad", "--language", "en", *arguments]
        status = run_cli([*words, "--model", str(speech_folder)])
        library.speaker.join()
        assert library.closed == 1
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def test_what_is_said_is_written_and_ctrl_c_ends_it(
    listen, speech_folder: Path, sound: np.ndarray
) -> None:
    status, out, err = listen(ctrl_c)
    with (
        Model(speech_folder) as model,
        model.transcribe_live(vad=False, language="en") as live,
    ):
        live.feed(sound)
        live.finish()
    assert status == 0 and "".join(out.split()) == "".join(printable(live.text).split()) != ""
    first, last = err.splitlines()
    assert first == "[listening to Desk mic; Ctrl-C ends it]"
    assert last == "[Desk mic: 0:03, language en]"


@pytest.mark.parametrize("form", ["json", "srt", "vtt", "tsv"])
def test_all_formats(listen, form: str) -> None:
    status, out, err = listen(ctrl_c, "--format", form, "--quiet")
    assert (status, err) == (0, "")
    if form == "json":
        row = json.loads(out)
        assert row["file"] == "microphone" and row["duration"] == 3 and row["segments"]
    else:
        assert out.startswith(
            {"srt": "1\n00:00:0", "vtt": "WEBVTT\n\n00:0", "tsv": "start\t"}[form]
        )


@pytest.mark.fault("F49")
def test_what_was_said_before_the_microphone_went_is_written(listen) -> None:
    _, expected, _ = listen(ctrl_c, "--quiet")
    status, out, err = listen(unplug, "--quiet")
    assert (status, out) == (1, expected)
    assert err.startswith("cactus: Desk mic gives no more audio") and err.count("\n") == 1


@pytest.mark.fault("F49")
def test_what_the_device_dropped_is_reported(listen) -> None:
    def drop(stream: Stream) -> None:
        stream.hear(np.zeros(1600, np.float32), overflow=True)
        ctrl_c(stream)

    status, _, err = listen(drop, "--quiet")
    assert (status, err) == (0, "cactus: Desk mic: the system dropped some audio (1 x)\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mic", "a.wav"], "--mic takes no FILE"),
        (["--mic", "--output", "x"], "--mic takes no FILE and writes to stdout"),
        (["a.wav", "--device", "x"], "--device is for --mic"),
    ],
)
def test_a_wrong_command_line(capsys, arguments: list[str], words: str) -> None:
    assert run_cli(["transcribe", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_without_a_microphone_no_model_is_looked_for(monkeypatch, capsys) -> None:
    library = Devices(takes=())
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    assert run_cli(["transcribe", "--mic", "--model", "nobody/has-this"]) == 1
    assert capsys.readouterr() == (
        "",
        "cactus: there is no microphone; PortAudio finds none at all\n",
    )
    monkeypatch.setitem(sys.modules, "sounddevice", Devices(MIC, takes=((16_000, 1),)))
    assert run_cli(["transcribe", "--mic", "--device", "3"]) == 1
    assert capsys.readouterr().err == "cactus: microphone 3: there is none; those are: 0 Desk mic\n"


@pytest.mark.parametrize("columns", range(10, 100, 7))
def test_the_status_line_shows_the_end_of_what_is_said(columns: int) -> None:
    from rich.cells import cell_len

    line = spoken_line(65, "one two three 四五六 \x1b[2J seven\neight nine", columns)
    assert cell_len(line) <= columns and line.startswith("1:05  ") and "\x1b" not in line
    assert columns < 20 or line.endswith("nine")
    assert spoken_line(5, "", columns) == "0:05  "
