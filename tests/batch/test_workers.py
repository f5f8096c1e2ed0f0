"""Several processes give what one gives, and none of them outlives the job."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import pytest

from cactus.batch import run, workers
from cactus.batch.works.texts import Embed
from cactus.errors import InvalidRequest
from tests.background import ROOT

from .conftest import by_index, rows_of

sys.path.insert(0, str(ROOT / "tools"))
from soak.watch import children, runs

JOB = {
    "job": "chat",
    "prompt": "{text}",
    "options": {"max_tokens": 6, "temperature": 0.8, "seed": 5},
}


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_gives_the_same(
    workers: int, tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    with questions.open("a") as file:
        file.write("not json\n")
    alone, together, ordered = (tmp_path / f"{name}.jsonl" for name in ("1", "n", "o"))
    run(JOB, questions, alone, model=tiny_model, threads=1)
    report = run(JOB, questions, together, model=tiny_model, threads=1, workers=workers)
    assert (report.rows, report.errors) == (41, 1)
    assert by_index(together) == by_index(alone)
    run(JOB, questions, ordered, model=tiny_model, threads=1, workers=workers, ordered=True)
    assert rows_of(ordered) == by_index(alone)


def test_another_number_of_workers_goes_on(
    tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.jsonl"
    run(JOB, questions, output, model=tiny_model, threads=1)
    whole = by_index(output)
    lines = output.read_bytes().splitlines(keepends=True)
    output.write_bytes(b"".join(lines[:13]))
    report = run(JOB, questions, output, model=tiny_model, threads=1, workers=2)
    assert report.before == 13 and by_index(output) == whole


@pytest.mark.parametrize(("cores", "threads", "expected"), [(3, None, 3), (9, None, 4), (3, 3, 1)])
def test_as_many_vectors_as_are_worth_a_process_get_one_each(
    cores: int,
    threads: int | None,
    expected: int,
    tiny_model: Path,
    questions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Embed, "ROWS_A_PROCESS", 10)
    monkeypatch.setenv("CACTUS_THREADS", str(cores))
    monkeypatch.setattr("cactus.machine._allowed_cpus", lambda: range(16))
    begun = []
    start = workers.start
    monkeypatch.setattr(workers, "start", lambda *what: begun.append(what) or start(*what))
    alone, together = tmp_path / "1.jsonl", tmp_path / "n.jsonl"
    run("embed", questions, alone, model=tiny_model, workers=1)
    assert not begun
    run("embed", questions, together, model=tiny_model, threads=threads)
    assert len(begun) == (expected if expected > 1 else 0)
    assert by_index(together) == by_index(alone)


def test_what_ends_the_work_of_one_ends_all(
    tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    job: dict[str, Any] = {**JOB, "options": {"max_tokens": -1}}
    before = children(os.getpid())
    with pytest.raises(InvalidRequest, match="max_tokens must be an integer"):
        run(job, questions, tmp_path / "out.jsonl", model=tiny_model, threads=1, workers=2)
    assert children(os.getpid()) == before


def test_an_error_of_a_worker_is_let_go_of_when_it_was_handled(
    tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    job: dict[str, Any] = {**JOB, "options": {"max_tokens": -1}}
    gc.disable()
    try:
        try:
            run(job, questions, tmp_path / "out.jsonl", model=tiny_model, threads=1, workers=2)
        except InvalidRequest as error:
            left = weakref.ref(error)
        assert left() is None
    finally:
        gc.enable()


def long_job(tmp_path: Path, model: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """A command with two workers that has begun to write."""
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps({"prompt": f"Row {n}"}) + "\n" for n in range(9000)))
    arguments = ["chat", str(source), str(output), "-m", str(model), "--workers", "2", "-q"]
    command = [sys.executable, "-m", "cactus", "batch", *arguments, "--max-tokens", "9"]
    process = subprocess.Popen([*command, "--threads", "1"], stderr=subprocess.PIPE)
    while not output.exists() or output.read_bytes().count(b"\n") < 20:
        assert process.poll() is None
        time.sleep(0.01)
    return process, output


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="lists processes by /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_job(number: int, tiny_model: Path, tmp_path: Path) -> None:
    process, output = long_job(tmp_path, tiny_model)
    workers = children(process.pid)
    assert len(workers) == 2
    process.send_signal(number)
    process.communicate()
    while any(map(runs, workers)):
        time.sleep(0.01)
    assert len(rows_of(output)) >= 20 or number == signal.SIGKILL


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="lists processes by /proc")
def test_a_worker_that_is_killed_ends_the_job_with_a_word(tiny_model: Path, tmp_path: Path) -> None:
    process, output = long_job(tmp_path, tiny_model)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    said = process.communicate()[1].decode()
    assert process.returncode == 1 and said.startswith("cactus: worker ")
    assert "ended with status -9" in said and len(rows_of(output)) >= 20
