"""What engines on the nodes of a cluster do that needs no cluster."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cactus.batch.cluster import Cluster, _BlockEngine, _called_elsewhere
from cactus.batch.job import Job
from cactus.batch.rows import Row
from cactus.batch.state import model_known_by
from cactus.batch.task import Task
from cactus.errors import CactusError, InvalidRequest, ModelNotFound

CHAT = Job("chat", {"prompt": "{text}"}, {"max_tokens": 4})


def folder_of(home: Path, name: str, source: dict[str, str]) -> Path:
    (home / name).mkdir()
    config = {"cactus": {"source": source}}
    (home / name / "config.json").write_text(json.dumps(config))
    return home / name


@pytest.mark.parametrize(
    ("name", "source", "called"),
    [
        ("mine", {}, "mine"),
        ("m", {"hub_id": "its/M", "commit": "0a1b"}, "its/M"),
        ("m", {"hub_id": "its/M", "commit": "0a1b", "file": "M-Q4_0.gguf"}, "its/M:M-Q4_0.gguf"),
        ("m", {"hub_id": "its/M", "package": "m 1.0", "file": "M-Q4_0.gguf"}, "its/M"),
        ("smollm2-135m-instruct", {}, "HuggingFaceTB/SmolLM2-135M-Instruct"),
    ],
)
def test_a_node_without_the_folder_takes_what_that_was_made_from(
    name: str, source: dict[str, str], called: str, tmp_path: Path
) -> None:
    assert _called_elsewhere(folder_of(tmp_path, name, source)) == called


@pytest.fixture
def node(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a node's own copy of `tiny_model`, which has that at another place."""
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path))
    return Path(shutil.copytree(tiny_model, tmp_path / tiny_model.name))


def engine(known: Path, name: str) -> _BlockEngine:
    """On a node that does not see the folder of the job's model, and must not fetch it."""
    task = Task(CHAT, Path(), Path("/nowhere", known.name), {"threads": 1})
    return _BlockEngine(task, name, False, model_known_by(known), 1)


def test_a_node_has_a_folder_of_its_own(tiny_model: Path, node: Path) -> None:
    one = engine(tiny_model, node.name)
    assert one.load() == ([], 0.0)
    lines, _ = one.lines([Row(0, "", {"text": "a"})])
    assert [line[:2] for line in lines] == [(0, False)]


def test_another_model_of_the_same_name_is_an_error(tiny_model: Path, node: Path) -> None:
    (node / "config.json").write_text((node / "config.json").read_text() + " ")
    with pytest.raises(CactusError, match=f"model in {node} is not the one that the job was begun"):
        engine(tiny_model, node.name).load()


def test_a_model_that_a_node_has_not_and_must_not_fetch_is_an_error(
    tiny_model: Path, node: Path
) -> None:
    with pytest.raises(ModelNotFound, match='no model "other"'):
        engine(tiny_model, "other").load()
    with pytest.raises(CactusError, match="switched off"):
        engine(tiny_model, "HuggingFaceTB/SmolLM2-135M-Instruct").load()


def engine_of(task: Task, *nodes: int) -> int:
    """The CPUs of an engine on a cluster whose nodes have so many."""
    asked: list[int] = []

    def remote(*, num_cpus: int, **_: Any) -> Any:
        asked.append(num_cpus)
        return lambda actor: actor

    alive = [{"Alive": True, "Resources": {"CPU": float(count)}} for count in nodes]
    gone = {"Alive": False, "Resources": {"CPU": 64.0}}
    ray = SimpleNamespace(nodes=lambda: [*alive, gone], remote=remote, put=lambda given: given)
    Cluster("auto")._pool(ray, task)
    return asked[0]


def test_an_engine_has_the_cpus_of_the_smallest_node(tiny_model: Path, questions: Path) -> None:
    chat = Task(CHAT, questions, tiny_model, {"threads": None})
    assert engine_of(chat, 0, 8, 4) == 4
    assert engine_of(replace(chat, load={"threads": 3}), 0, 8, 4) == 3
    # Two cores with a text each do not wait for one another at each layer.
    assert engine_of(replace(chat, job=Job("embed")), 0, 8, 4) == 1


def test_an_engine_without_room_is_an_error(tiny_model: Path, questions: Path) -> None:
    task = Task(CHAT, questions, tiny_model, {"threads": 6})
    with pytest.raises(InvalidRequest, match=r"engine of 6 has no room on the nodes, .* \[0, 4\]"):
        engine_of(task, 0, 4)
