"""A job that was ended goes on where it was, and only with what it was begun with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import filelock
import pytest

from cactus.batch import run
from cactus.batch.state import State
from cactus.cli.main import run_cli
from cactus.errors import InvalidRequest

from .conftest import rows_of

JOB = {"job": "chat", "prompt": "{text}", "options": {"max_tokens": 12}}
ROOT = Path(__file__).resolve().parents[2]


def started(job: Any, source: Path, output: Path, model: Path, *more: str) -> Any:
    """The command in a process of its own."""
    file = output.parent / "job.json"
    file.write_text(json.dumps(job))
    arguments = [str(file), str(source), str(output), "--model", str(model), "--threads", "1"]
    command = [sys.executable, "-m", "cactus", "batch", *arguments, "-q", *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


@pytest.mark.fault("F66")
@pytest.mark.parametrize(
    "more", [("1",), ("1", "2", "--ordered")], ids=["as ready", "workers, ordered"]
)
def test_killed_at_many_points_each_row_is_there_once(
    tiny_model: Path, more: tuple[str, ...]
) -> None:
    command = [sys.executable, str(ROOT / "tools" / "kill_batch.py"), str(tiny_model)]
    options = ["--rows", "400", "--max-tokens", "4", "--threads", "1", "--points", "10"]
    options += ["--workers", *more]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    killed = int(done.stdout.splitlines()[-1].split()[1])
    assert killed > 5 and done.stdout.endswith("the output is the same\n")


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
from cactus.cli.main import run_cli
sys.exit(run_cli(sys.argv[1:]))
"""


@pytest.mark.fault("F65")
@pytest.mark.parametrize("size", [0, 700, 5000])
def test_a_full_disk_is_said_and_the_job_goes_on_when_there_is_room(
    tiny_model: Path, questions: Path, tmp_path: Path, size: int
) -> None:
    output = tmp_path / "out.jsonl"
    job = ["chat", str(questions), str(output), "-p", "{text}", "-m", str(tiny_model), "-q"]
    command = [sys.executable, "-c", FULL, str(size), "batch", *job]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{output} cannot be written: File too large" in done.stderr
    assert run_cli(["batch", *job]) == 0
    assert sorted(row["index"] for row in rows_of(output)) == list(range(40))


def test_what_is_done_is_not_done_again(tiny_model: Path, questions: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    run(JOB, questions, output, model=tiny_model, threads=1)
    lines = output.read_bytes().splitlines(keepends=True)
    marked = [line.replace(b'"finish_reason"', b'"kept": 1, "finish_reason"') for line in lines]
    output.write_bytes(b"".join(marked[:25]) + lines[25][:-5])
    report = run(JOB, questions, output, model=tiny_model, threads=1)
    assert (report.before, report.rows) == (25, 40)
    assert output.read_bytes().splitlines(keepends=True)[:25] == marked[:25]
    assert sorted(output.read_bytes().splitlines()[25:]) == sorted(
        line.strip() for line in lines[25:]
    )
    before = output.stat().st_mtime_ns
    report = run(JOB, questions, output, model=tiny_model, threads=1)
    assert (report.before, report.rows, output.stat().st_mtime_ns) == (40, 40, before)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("job", "job: prompt was '{text}', is '{text}!'"),
        ("input", "input: size was"),
        ("model", "model: files was"),
        ("ordered", "options: ordered was False, is True"),
        ("kv", "options: kv was None, is 'f16'"),
    ],
)
def test_with_something_else_it_does_not_go_on(
    change: str, said: str, tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    output, options, model = tmp_path / "out.jsonl", {}, tiny_model
    run(JOB, questions, output, model=tiny_model, threads=1)
    before = output.read_bytes()
    job: dict[str, Any] = dict(JOB)
    if change == "job":
        job["prompt"] = "{text}!"
    elif change == "input":
        with questions.open("a") as file:
            file.write('{"text": "more"}\n')
    elif change == "model":
        model = tmp_path / tiny_model.name
        model.mkdir()
        for file in tiny_model.iterdir():
            (model / file.name).write_bytes(file.read_bytes())
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config, indent=3))
    elif change == "kv":
        options = {"kv": "f16"}
    else:
        options = {"ordered": True}
    with pytest.raises(InvalidRequest) as error:
        run(job, questions, output, model=model, threads=1, **options)  # type: ignore[arg-type]
    assert said in str(error.value) and "--restart" in str(error.value)
    assert output.read_bytes() == before
    report = run(job, questions, output, model=model, threads=1, restart=True, **options)  # type: ignore[arg-type]
    assert report.before == 0 and report.rows == len(rows_of(questions))


def test_a_file_that_no_job_has_made_is_left_alone(
    tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    output.write_text("mine")
    with pytest.raises(InvalidRequest, match="is there already; --restart begins anew"):
        run(JOB, questions, output, model=tiny_model, threads=1)
    assert output.read_text() == "mine"
    with pytest.raises(InvalidRequest, match="is the input"):
        run(JOB, questions, questions, model=tiny_model, threads=1)


def test_an_output_has_one_writer(tiny_model: Path, questions: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    with (
        filelock.FileLock(f"{output}.batch.lock"),
        pytest.raises(InvalidRequest, match=r"another process is writing .*out\.jsonl"),
    ):
        run(JOB, questions, output, model=tiny_model, threads=1)
    assert not output.exists()
    run(JOB, questions, output, model=tiny_model, threads=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out.jsonl",
        "out.jsonl.batch.json",
        "questions.jsonl",
    ]


def test_ctrl_c_leaves_what_is_done(tiny_model: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps({"text": f"Row {n}"}) + "\n" for n in range(2000)))
    process = started(JOB, source, output, tiny_model)
    while not output.exists() or output.read_bytes().count(b"\n") < 20:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1].decode()
    assert process.returncode == 130
    assert said == "\nStopped; the same command goes on from here.\n"
    assert 20 <= len(rows_of(output)) < 2000 and output.read_bytes().endswith(b"\n")


def test_a_state_that_names_much_is_refused_in_few_words(tmp_path: Path) -> None:
    state = State(tmp_path / "state", tmp_path / "out")
    for begun in ({"x" * 9000: 1}, {"job": {"x" * 9000: 1}}):
        with pytest.raises(InvalidRequest, match="was begun with something else") as raised:
            state.check({"job": {}}, begun)
        assert len(str(raised.value)) < 500
