"""A job on a cluster of Ray, where Ray is installed. `tools/check_ray.py` has what takes long."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cactus.batch import ray as with_ray
from cactus.batch import run
from cactus.errors import InvalidRequest

from .conftest import by_index

JOB = {"job": "chat", "prompt": "{text}", "options": {"max_tokens": 4}}

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="needs the extra `ray`; then: PYTHONPATH=. python tools/check_ray.py",
)


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    folders = [str(Path(__file__).parents[2]), *filter(None, sys.path)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(folders))


@needs_ray
@pytest.mark.usefixtures("local")
def test_a_cluster_gives_what_one_process_gives(
    tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    alone, together = tmp_path / "alone.jsonl", tmp_path / "together.jsonl"
    run(JOB, questions, alone, model=tiny_model, threads=1)
    report = run(JOB, questions, together, model=tiny_model, threads=1, ray="local")
    assert (report.rows, report.errors) == (40, 0) and by_index(together) == by_index(alone)


@needs_ray
@pytest.mark.usefixtures("local")
def test_what_is_wrong_on_a_node_is_the_error_of_the_job(
    tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    job = {**JOB, "options": {"max_tokens": -1}}
    with pytest.raises(InvalidRequest, match="max_tokens must be an integer"):
        run(job, questions, tmp_path / "out.jsonl", model=tiny_model, threads=1, ray="local")


@needs_ray
@pytest.mark.usefixtures("local")
def test_engines_that_have_no_room_are_an_error(
    tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest, match="threads: an engine of 999 has no room on the nodes"):
        run(JOB, questions, tmp_path / "out.jsonl", model=tiny_model, threads=999, ray="local")


@needs_ray
def test_a_token_that_is_not_there_is_an_error(
    tiny_model: Path, questions: Path, tmp_path: Path
) -> None:
    files = [str(questions), str(tmp_path / "out.jsonl"), "--model", str(tiny_model)]
    command = [sys.executable, "-m", "cactus", "batch", "chat", *files, "--ray", "127.0.0.1:1"]
    environment = {**os.environ, "HOME": str(tmp_path), "RAY_AUTH_MODE": "token"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    wanted = "cactus: ray: no cluster at '127.0.0.1:1': Token authentication is enabled but no"
    assert wanted in done.stderr


@pytest.mark.parametrize(("given", "threads"), [({"CPU": 1.0}, 1), ({"CPU": 0.5}, 1), ({}, None)])
def test_an_engine_has_the_threads_that_its_actor_has_cpus(
    given: dict[str, float], threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    context: Any = SimpleNamespace(get_assigned_resources=lambda: given)
    ray = SimpleNamespace(is_initialized=lambda: True, get_runtime_context=lambda: context)
    monkeypatch.setitem(sys.modules, "ray", ray)  # type: ignore[arg-type]
    assert with_ray._given_cpus() == threads
