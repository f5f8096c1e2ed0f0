"""`cactus transcribe` with a tiny random model: what is said is nonsense, how it is told is not."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from cactus import Model
from cactus.cli.main import run_cli
from cactus.cli.process import PIPE_CLOSED
from cactus.cli.status_line import audio_line, time_of
from cactus.inputs.text import printable
from cactus.speech.options import Options
from cactus.speech.speech import Speech
from tests.cli.terminal import Terminal

COMMAND = [sys.executable, "-m", "cactus.cli.main", "transcribe"]


@pytest.fixture(scope="module")
def recordings(sound: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sound as short.wav, short.flac and short.pcm; long.wav, ten minutes; silent.wav."""
    folder = tmp_path_factory.mktemp("recordings")
    whole = np.rint(32767 * sound).astype("<i2")
    soundfile.write(folder / "short.wav", whole, 16_000)
    soundfile.write(folder / "short.flac", whole, 16_000)
    (folder / "short.pcm").write_bytes(whole.tobytes())
    soundfile.write(folder / "long.wav", np.tile(whole, 200), 16_000)
    soundfile.write(folder / "silent.wav", 0 * whole, 16_000)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], speech_folder: Path):
    """Transcribes in this process, by the tiny model: status, stdout, stderr."""

    def call(*arguments: str | Path, model: str | Path = speech_folder) -> tuple[int, str, str]:
        words = ["transcribe", "--model", model, "--no-vad", *arguments]
        status = run_cli([str(word) for word in words])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


@pytest.fixture(scope="module")
def options(speech_folder: Path) -> list[str]:
    return ["--model", str(speech_folder), "--no-vad"]


def test_text_and_a_summary(run, recordings: Path, speech_folder: Path) -> None:
    status, out, err = run(recordings / "short.wav")
    with Model(speech_folder) as model:
        expected = model.transcribe(str(recordings / "short.wav"), vad=False)
    assert status == 0 and expected.segments
    assert out.splitlines() == [printable(segment.text).strip() for segment in expected.segments]
    assert err.startswith("[short.wav: 0:03 in ")
    assert f", language {expected.language} (" in err and err.count("\n") == 1


def test_json_is_a_line_for_each_file(run, recordings: Path, speech_folder: Path) -> None:
    files = [str(recordings / name) for name in ("short.wav", "short.flac")]
    status, out, err = run(*files, "--format", "json", "--quiet")
    rows = [json.loads(line) for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert [row.pop("file") for row in rows] == files and rows[0] == rows[1]
    with Model(speech_folder) as model:
        expected = model.transcribe(files[0], vad=False)
    assert rows[0]["text"] == expected.text and rows[0]["duration"] == 3
    assert [row["tokens"] for row in rows[0]["segments"]] == [
        list(segment.tokens) for segment in expected.segments
    ]


def test_several_texts_have_titles(run, recordings: Path) -> None:
    wav, flac = recordings / "short.wav", recordings / "short.flac"
    _, alone, _ = run(wav)
    status, out, _ = run(wav, flac, "-q")
    assert status == 0 and out == f"==> {wav} <==\n{alone}\n==> {flac} <==\n{alone}"


def test_channels_are_transcribed_on_their_own(run, recordings: Path, tmp_path: Path) -> None:
    samples, rate = soundfile.read(recordings / "short.wav")
    call = tmp_path / "call.wav"
    soundfile.write(call, np.stack([0 * samples, samples], axis=1), rate)
    _, alone, _ = run(recordings / "short.wav", "--format", "json", "-q")
    status, out, err = run(call, "--split-channels", "--format", "json")
    want, got = json.loads(alone), json.loads(out)
    assert status == 0 and want["segments"] and got["duration"] == 3
    assert [each.pop("channel") for each in got["segments"]] == [2] * len(got["segments"])
    assert got["segments"] == want["segments"]
    assert err.count("\n") == 1
    _, out, _ = run(call, "--split-channels", "--format", "vtt", "-q")
    assert out.count("<v Channel 2>") == len(want["segments"])
    _, out, _ = run(call, "--split-channels", "-q")
    assert all(line.startswith("[2] ") for line in out.splitlines())


def test_a_recording_that_ends_early_is_transcribed_and_said(
    run, recordings: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.wav"
    cut.write_bytes((recordings / "short.wav").read_bytes()[: 2 * 16_000])
    status, out, err = run(cut, "--quiet")
    assert status == 0 and out
    assert 'cut.wav" ends at 1.0 s' in err and "it is cut off or damaged" in err


def test_nothing_is_said_of_silence(run, recordings: Path, speech_folder: Path, capsys) -> None:
    arguments = ["transcribe", "--model", str(speech_folder), str(recordings / "silent.wav")]
    assert run_cli(arguments) == 0
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("[silent.wav: 0:03 in ") and "nothing was said]" in err


def test_options_reach_the_model(run, recordings: Path) -> None:
    wav = recordings / "short.wav"
    _, greedy, err = run(wav, "--beam-size", "1", "--language", "German", "--task", "translate")
    assert "language" not in err  # it was given
    _, heard, _ = run(wav, "--language", "de")
    assert greedy != heard


def test_words_have_times(run, recordings: Path) -> None:
    status, out, _ = run(recordings / "short.wav", "--words", "--format", "json")
    for segment in json.loads(out)["segments"]:
        assert "".join(word["word"] for word in segment["words"]) == segment["text"]
    assert status == 0 and "words" in out
    status, out, _ = run(recordings / "short.wav", "--words", "--format", "srt")
    assert status == 0 and out.startswith("1\n00:00:0")


@pytest.mark.parametrize("form", ["text", "json", "srt", "vtt", "tsv"])
def test_files_are_written_into_a_folder(run, recordings: Path, tmp_path: Path, form: str) -> None:
    target = tmp_path / "new" / "folder"
    wav = recordings / "short.wav"
    status, out, _ = run(wav, "--format", form, "--output", target)
    (written,) = target.iterdir()
    assert status == 0 and out == f"{written}\n" and written.stem == "short"
    assert written.suffix == {"text": ".txt"}.get(form, f".{form}")
    assert run(wav, "--format", form, "-q") == (0, written.read_text("utf-8"), "")


def test_what_cannot_be_read_is_reported_and_the_rest_goes_on(
    run, recordings: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.wav"
    text.write_text("no sound\n")
    status, out, err = run("none.wav", text, recordings / "short.wav", tmp_path, "-q")
    assert status == 1 and out.startswith("==> ") and out.count("==>") == 1
    first, second, third = err.splitlines()
    assert first == 'cactus: "none.wav": no such file'
    assert second.startswith(f'cactus: "{text}" is text') and "is a directory" in third


def test_what_was_heard_before_a_sound_went_bad_is_kept(
    run, sound: np.ndarray, tmp_path: Path
) -> None:
    bad = np.concatenate((sound, np.full(64_000, np.nan, np.float32)))
    soundfile.write(tmp_path / "bad.wav", bad, 16_000, subtype="FLOAT")
    status, out, err = run(tmp_path / "bad.wav", "--format", "srt", "--output", tmp_path)
    assert (status, out) == (1, "") and "samples lie beyond" in err
    assert (tmp_path / "bad.srt").read_text().startswith("1\n00:00:")
    assert {path.name for path in tmp_path.iterdir()} == {"bad.wav", "bad.srt"}
    status, _, _ = run(tmp_path / "bad.wav", "--format", "json", "--output", tmp_path)
    assert status == 1  # an object that does not end is no JSON
    assert {path.name for path in tmp_path.iterdir()} == {"bad.wav", "bad.srt"}


def test_passages_of_a_file_go_on_together(
    recordings: Path, speech_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, check = [], Speech._options

    def checked(self: Speech, options: Any) -> Options:
        sizes.append(check(self, options).batch_size)
        return check(self, options)

    monkeypatch.setattr(Speech, "_options", checked)
    words = ["transcribe", "--model", speech_folder, "--batch-size", 3, recordings / "silent.wav"]
    assert run_cli([str(word) for word in words]) == 0
    assert sizes == [3]


def test_without_a_readable_file_no_model_is_looked_for(run) -> None:
    assert run("none.wav", model="nobody/has-this") == (1, "", 'cactus: "none.wav": no such file\n')


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument 'FILE...'"),
        (["-", "-"], "'-' is standard input, which can be read once"),
        (["a.wav", "b.wav", "--format", "srt"], "Several files cannot be one srt"),
        (["a.wav", "b/a.mp3", "--output", "x"], "which is for a.wav already"),
        (["x/a.txt", "--output", "x"], "which is for x/a.txt already"),
        (
            ["a.wav", "b.wav", "--format", "verbose_json"],
            "Several files cannot be one verbose_json",
        ),
        (["-", "--split-channels"], "'-' is read once"),
        (["--mic", "--split-channels"], "--split-channels is for FILEs"),
        (["--mic", "--batch-size", "2"], "--batch-size is for FILEs"),
        (["a.wav", "--no-vad", "--batch-size", "2"], "leave out --no-vad"),
        (["a.wav", "--batch-size", "65"], "must be a whole number from 1 to 64, got '65'"),
        (["a.wav", "--format", "docx"], "'docx' is not one of"),
        (["a.wav", "--beam-size", "0"], "must be a whole number from 1 to 16, got '0'"),
        (["a.wav", "--task", "summarize"], "'summarize' is not one of"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(run, arguments: list[str], words: str) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, "") and err.startswith("Usage: cactus transcribe")
    assert words in " ".join(err.split())


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("germn", "language is 'germn'; did you mean de (German)?"),
        ("en-GB", "language is 'en-gb'; did you mean en (English)?"),
        ("xx", "language is 'xx', expected one of: de, en"),
    ],
)
def test_a_wrong_language_is_one_line(run, recordings: Path, code: str, words: str) -> None:
    wav = recordings / "short.wav"
    assert run(wav, "--language", code) == (1, "", f"cactus: {words}\n")


def test_a_text_model_cannot_listen(run, recordings: Path, tiny_model: Path) -> None:
    status, out, err = run(recordings / "short.wav", model=tiny_model)
    assert (status, out) == (1, "")
    assert err.startswith("cactus: tiny (llama) cannot transcribe audio: it can chat")
    # One that is known is not even fetched.
    status, out, err = run(recordings / "short.wav", model="LiquidAI/LFM2-350M")
    assert (status, out) == (1, "") and "lfm2-350m (lfm2) cannot transcribe" in err


@pytest.mark.parametrize(
    "line", ["cat {}/short.pcm |", "cat {}/short.wav |", "cat {}/short.flac |"]
)
def test_standard_input_is_samples_or_a_file(
    run, options, recordings: Path, line: str, capsys
) -> None:
    _, expected, _ = run(recordings / "short.wav", "--format", "tsv", "-q")
    command = f'{line.format(recordings)} "$@" - --format tsv -q'
    done = subprocess.run(
        ["sh", "-c", command, "sh", *COMMAND, *options], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", expected)


@pytest.mark.parametrize(
    ("given", "words"),
    [(b"", "is empty"), (b"hello\n", "is text"), (b"%PDF-1.7 \xe2\xe3", "is a PDF document")],
)
def test_standard_input_may_be_no_sound(options, given: bytes, words: str) -> None:
    done = subprocess.run([*COMMAND, *options, "-"], input=given, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(f'cactus: "standard input" {words}'.encode())
    assert done.stderr.count(b"\n") == 1


@pytest.fixture
def recorder(options, recordings: Path):
    """The command with a recording in its pipe, all of it read, and the pipe still open."""
    running: list[subprocess.Popen[bytes]] = []

    def record(name: str) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [*COMMAND, *options, "-"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        running.append(child)
        assert child.stdin
        child.stdin.write((recordings / name).read_bytes())
        child.stdin.flush()
        waiting = struct.pack("i", 1)
        while struct.unpack("i", waiting)[0]:  # bytes in the pipe
            time.sleep(0.02)
            waiting = fcntl.ioctl(child.stdin, termios.FIONREAD, waiting)
        return child

    yield record
    for child in running:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("name", ["short.pcm", "short.wav"])
def test_ctrl_c_ends_what_is_recorded_into_a_pipe(
    run, recorder, recordings: Path, name: str
) -> None:
    _, expected, _ = run(recordings / "short.wav", "-q")
    child = recorder(name)
    child.send_signal(signal.SIGINT)
    assert child.stdout.read().decode() == expected  # all of it, though the pipe is open
    assert child.wait() == 130
    assert child.stderr.read().startswith(b"[standard input: 0:03 in ")


def test_a_second_ctrl_c_ends_at_once(recorder) -> None:
    child = recorder("long.wav")
    child.send_signal(signal.SIGINT)
    assert child.stdout.readline()
    child.send_signal(signal.SIGINT)
    assert child.wait() == 130
    assert child.stderr.read() == b"\n"


def test_a_reader_that_leaves_ends_it_quietly(options, recordings: Path) -> None:
    command = '"$@"; echo $? >&2'
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        ["sh", "-c", command, "sh", *COMMAND, *options, str(recordings / "long.wav")],
        stdout=writer, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.stderr == f"{PIPE_CLOSED}\n".encode()


@pytest.mark.parametrize("columns", [40, 80])
def test_a_terminal_shows_how_far_it_is(options, recordings: Path, columns: int) -> None:
    terminal = Terminal(columns, "transcribe", *options, str(recordings / "long.wav"))
    shows = _line_of(terminal, "long.wav  ")
    terminal.wait_for(lambda: shows(" / 10:00") and shows("x"))
    assert any(line.startswith("[00:0") and " --> 00:0" in line for line in terminal.lines)
    assert ("─" in shows.line) == (columns >= 80)
    assert len(shows.line) < columns
    terminal.child.sendintr()
    assert terminal.leave() == 130
    said = "".join(terminal.lines)
    assert "[stopped; long.wav: " in said and "/ 10:00" not in said and "Traceback" not in said


class _line_of:
    """The last line that begins so, and whether it holds a text."""

    def __init__(self, terminal: Terminal, start: str) -> None:
        self.terminal, self.start, self.line = terminal, start, ""

    def __call__(self, text: str) -> bool:
        for line in self.terminal.lines:
            if line.startswith(self.start):
                self.line = line
        return text in self.line


def test_ctrl_c_writes_what_was_found(options, recordings: Path, tmp_path: Path) -> None:
    arguments = [*options, "--format", "json", "--output", str(tmp_path)]
    files = [str(recordings / "long.wav"), str(recordings / "short.flac")]
    terminal = Terminal(80, "transcribe", *arguments, *files)
    terminal.wait_for(lambda: any("x" in line.partition("10:00")[2] for line in terminal.lines))
    terminal.child.sendintr()
    assert terminal.leave() == 130
    (written,) = tmp_path.iterdir()  # the second file was not begun
    row = json.loads(written.read_text("utf-8"))
    assert row["finish_reason"] == "cancelled" and row["segments"] and row["duration"] < 600


def test_standard_input_that_is_a_terminal_is_a_mistake(options) -> None:
    terminal = Terminal(80, "transcribe", *options, "-")
    assert terminal.leave() == 2
    assert "pipe audio into it" in "".join(terminal.lines)


@pytest.mark.parametrize("columns", range(20, 120, 7))
@pytest.mark.parametrize("name", ["a.wav", "录音" * 40, "x\x1b[2J" + "y" * 90])
def test_the_line_fits(name: str, columns: int) -> None:
    from rich.cells import cell_len

    for duration in (None, 7200.0):
        line = audio_line(name, 3725, duration, 100, columns)
        assert cell_len(line) <= columns and "\x1b" not in line and "1:02:05" in line


def test_what_the_line_says() -> None:
    say: Callable[..., str] = audio_line
    assert say("a.wav", 0, None, 0.1, 77) == "a.wav  0:00"
    assert say("a.wav", 30, None, 2.5, 77) == "a.wav  0:30  12.0x"
    assert say("a.wav", 30, 60, 2.5, 40) == "a.wav  0:30 / 1:00  12.0x"
    assert say("a.wav", 30, 60, 2.5, 77) == f"a.wav  {'━' * 12}{'─' * 12}  0:30 / 1:00  12.0x"
    assert say("a.wav", 61, 60, 2.5, 77).endswith("1:00 / 1:00  24.0x")  # headers lie
    assert say("recording.wav", 30, 60, 2.5, 24) == "rec…  0:30 / 1:00  12.0x"
    assert [time_of(t) for t in (0, 59.9, 60, 3600)] == ["0:00", "0:59", "1:00", "1:00:00"]
