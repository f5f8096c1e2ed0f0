"""Which embedder is taken where none is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cactus.errors import ModelNotFound, UnsupportedModel
from cactus.models.abilities import ABILITIES
from cactus.weights.embedders import find_embedder, no_embedder


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path))
    monkeypatch.delenv("CACTUS_EMBEDDER", raising=False)
    return tmp_path


def put(root: Path, name: str, model_type: str) -> Path:
    (root / name).mkdir()
    config = {"model_type": model_type, "cactus": {"format": 1}}
    (root / name / "config.json").write_text(json.dumps(config))
    return root / name


@pytest.fixture
def vectors(monkeypatch: pytest.MonkeyPatch) -> str:
    """An architecture that is made for vectors."""
    monkeypatch.setitem(ABILITIES, "of-vectors", ("embed",))
    return "of-vectors"


def test_an_embedder_on_this_machine_is_found_and_no_chat_model(root: Path, vectors: str) -> None:
    put(root, "a-chat", "llama")
    assert find_embedder() is None
    other = put(root, "b-embedder", vectors)
    put(root, "c-embedder", vectors)
    assert find_embedder() == other
    usual = put(root, "all-minilm-l6-v2", vectors)
    assert find_embedder() == usual, "the usual one first, whatever the alphabet says"


def test_a_name_comes_before_what_there_is(
    root: Path, vectors: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(root, "all-minilm-l6-v2", vectors)
    chat, other = put(root, "a-chat", "llama"), put(root, "other", vectors)
    monkeypatch.setenv("CACTUS_EMBEDDER", "other")
    assert find_embedder() == other
    assert find_embedder("a-chat") == find_embedder(chat) == chat
    with pytest.raises(ModelNotFound, match="no-such"):
        find_embedder("no-such")
    monkeypatch.setenv("CACTUS_EMBEDDER", "gone")
    with pytest.raises(ModelNotFound, match="gone"):
        find_embedder()


def test_a_part_of_a_name_stands_for_what_makes_vectors(root: Path, vectors: str) -> None:
    put(root, "whisper-own", "whisper")
    with pytest.raises(UnsupportedModel, match=r"whisper-own .* cannot embed text"):
        find_embedder("whisper")
    made = put(root, "words-own", vectors)
    assert find_embedder("own") == made


def test_where_there_is_none_the_error_says_what_to_do() -> None:
    assert "cactus download all-minilm-l6-v2" in str(no_embedder())
    assert "CACTUS_EMBEDDER" in str(no_embedder())
