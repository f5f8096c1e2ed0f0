"""Ollama's own client asks what models there are, fetches one and deletes it; and makes vectors."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import ollama
import pytest
from ollama import Client

import cactus
from cactus.model import Model
from tests.server.running import serving


def test_the_models_are_listed(client: Client, tiny_model: Path) -> None:
    (found,) = client.list().models
    assert found.model == "tiny" and found.modified_at is not None and len(found.digest or "") == 64
    assert found.size == (tiny_model / "model.safetensors").stat().st_size
    assert found.details is not None
    assert found.details.family == "llama" and found.details.quantization_level == "INT8"


def test_a_model_is_described(client: Client) -> None:
    found = client.show("tiny")
    assert found.modelinfo is not None and found.capabilities == ["completion"]
    assert found.modelinfo["general.architecture"] == "llama"
    assert found.modelinfo["llama.context_length"] == 512
    assert found.template is not None and "<|im_start|>" in found.template
    with pytest.raises(ollama.ResponseError) as caught:
        client.show("other")
    assert caught.value.status_code == 404


def test_the_version_is_new_enough_for_those_who_look(url: str) -> None:
    told = httpx2.get(f"{url}/api/version").json()
    assert tuple(map(int, told["version"].split("."))) >= (0, 6, 4)
    assert told["cactus"] == cactus.__version__


def test_vectors_are_those_of_the_model(tiny: Model, client: Client, url: str) -> None:
    texts = ["Hello", "a longer text about something else"]
    got = client.embed("tiny", texts)
    want = tiny.embed(texts, normalize=True)
    assert np.array_equal(np.array(got.embeddings, np.float32), want)
    assert got.prompt_eval_count == sum(want.tokens)
    assert np.array_equal(
        np.array(client.embed("tiny", texts[0]).embeddings[0], np.float32), want[0]
    )
    one = client.embeddings("tiny", texts[0])
    assert np.array_equal(np.array(one.embedding, np.float32), tiny.embed(texts[0]))
    assert client.embed("tiny", []).embeddings == []
    long = "x" * 5000
    cut = tiny.embed(long, truncate=True, normalize=True)
    assert np.array_equal(np.array(client.embed("tiny", long).embeddings[0], np.float32), cut)
    with pytest.raises(ollama.ResponseError) as caught:
        client.embed("tiny", long, truncate=False)
    assert caught.value.status_code == 400


@pytest.fixture
def own(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of a server whose models may come and go."""
    shutil.copytree(tiny_model, tmp_path / "first")
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path))
    with serving(tmp_path / "first") as running, Client(running.url) as client:
        yield client


def test_a_model_is_fetched_and_served(
    own: Client, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cactus.weights import download

    def fetch(name: str, *, progress: Any, **_: Any) -> Path:
        for done in range(0, 101, 10):
            progress("model.safetensors", done, 100)
        return Path(shutil.copytree(tiny_model, tmp_path / name.rpartition("/")[2]))

    monkeypatch.setattr(download, "download_model", fetch)
    lines = list(own.pull("owner/second", stream=True))
    assert lines[0].status == "pulling manifest" and lines[-1].status == "success"
    told = [line for line in lines if line.total]
    assert told[-1].completed == told[-1].total == 100 and told[-1].digest
    assert [model.model for model in own.list().models] == ["first", "second"]
    assert own.generate("second", "Hello!", options={"num_predict": 2}).done


def test_what_cannot_be_fetched_is_an_error(own: Client) -> None:
    with pytest.raises(ollama.ResponseError, match="no-such-model"):
        own.pull("no-such-model")
    with pytest.raises(ollama.ResponseError, match="no-such-model"):
        list(own.pull("no-such-model", stream=True))


def test_what_is_fetched_still_ends_with_the_server(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cactus.weights import download

    ended = threading.Event()

    def fetch(name: str, *, progress: Any, **_: Any) -> Path:
        try:
            for _ in range(60_000):
                progress("model.safetensors", 1, 100)
                time.sleep(0.001)
        finally:
            ended.set()
        raise AssertionError("nobody has ended it")

    monkeypatch.setattr(download, "download_model", fetch)
    with serving(tiny_model) as running, Client(running.url) as client:
        lines = client.pull("owner/second", stream=True)
        assert next(lines).status == "pulling manifest"
        assert next(lines).completed == 1
        lines.close()
        assert not ended.is_set()
    assert ended.is_set()


def test_a_model_is_deleted(own: Client, tmp_path: Path) -> None:
    own.generate("first", "Hello!", options={"num_predict": 2})
    assert own.delete("first").status == "success"
    assert not (tmp_path / "first").exists() and own.list().models == []
    with pytest.raises(ollama.ResponseError) as caught:
        own.delete("first")
    assert caught.value.status_code == 404


@pytest.mark.fault("F83")
@pytest.mark.parametrize("name", ["firs", "FIRST", "mine", "first-int8", "owner/first"])
def test_only_a_whole_name_deletes(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path))
    shutil.copytree(tiny_model, tmp_path / "first")
    aliases = {"mine": "first"}
    with (
        serving(tmp_path / "first", aliases=aliases) as running,
        Client(running.url) as client,
    ):
        with pytest.raises(ollama.ResponseError) as refused:
            client.delete(name)
        assert refused.value.status_code == 404
        assert (tmp_path / "first" / "model.safetensors").is_file()
        assert client.delete("first:latest").status == "success"
    assert not (tmp_path / "first").exists()


@pytest.mark.parametrize("linked", [False, True])
def test_a_model_elsewhere_is_not_deleted(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: bool
) -> None:
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path))
    folder = tmp_path / "tiny" if linked else tiny_model
    if linked:
        folder.symlink_to(tiny_model)
    with (
        serving(folder) as running,
        Client(running.url) as client,
        pytest.raises(ollama.ResponseError, match="where only its owner deletes"),
    ):
        client.delete("tiny")
    assert (folder / "model.safetensors").is_file()
