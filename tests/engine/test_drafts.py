"""Which models can be a draft of which, and what is said of the others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cactus import Model
from cactus.engine import fit, loading
from cactus.engine.loading import load
from cactus.errors import (
    CactusError,
    InvalidRequest,
    ModelClosed,
    ModelNotFound,
    UnsupportedModel,
)


@pytest.fixture
def small(tiny_model: Path, tmp_path: Path) -> Path:
    """Another model of the same vocabulary: a copy."""
    return Path(shutil.copytree(tiny_model, tmp_path / "small"))


def with_tokens(folder: Path, change: Any) -> Path:
    """`folder` with another vocabulary: `change` is given its tokens by their ids."""
    (folder / "tokenizer.bin").unlink(missing_ok=True)
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return folder


def test_a_draft_is_named_by_its_folder_or_given_as_a_model(tiny_model: Path, small: Path) -> None:
    with Model(tiny_model, draft=small) as model:
        assert model.draft == "small"
        owned = model._engine.draft
    with Model(tiny_model) as model:
        assert model.draft is None
    assert owned is not None
    with pytest.raises(ModelClosed):
        owned.program.session()
    with Model(small) as loaded:
        with Model(tiny_model, draft=loaded) as model:
            assert model._engine.draft is loaded._engine
            model.chat("hello", max_tokens=8)
        assert loaded.chat("hello", max_tokens=4).tokens, "it was closed with the other"
        with Model(tiny_model, draft=loaded) as model, Model(tiny_model) as alone:
            for n in range(3):
                if n == 1:
                    loaded.close()  # answers go on without it
                asked = f"{n} cups of tea"
                tokens = alone.chat(asked, max_tokens=40).tokens
                assert model.chat(asked, max_tokens=40).tokens == tokens
        with pytest.raises(ModelClosed):
            Model(tiny_model, draft=loaded)


def test_a_draft_has_the_options_of_its_model_and_a_share_of_its_memory(
    tiny_model: Path, small: Path
) -> None:
    with Model(tiny_model, draft=small, threads=1, isa="scalar", cache_bytes=10_000) as model:
        engine, draft = model._engine, model._engine.draft
        assert draft is not None
        assert (draft.tokens.info.threads, draft.tokens.info.isa) == (1, "scalar")
        assert (engine.cache_bytes, draft.cache_bytes) == (5000, 5000)


@pytest.mark.parametrize("wrong", [5, b"small", ["small"], True])
def test_what_is_no_draft_at_all_is_named(tiny_model: Path, wrong: Any) -> None:
    with pytest.raises(InvalidRequest, match="draft must be the name of a model, its folder or a"):
        Model(tiny_model, draft=wrong)


def test_a_draft_that_is_not_there_is_named(tiny_model: Path) -> None:
    with pytest.raises(ModelNotFound, match="no-such-draft"):
        Model(tiny_model, draft="no-such-draft")


def test_a_model_is_not_its_own_draft(tiny_model: Path) -> None:
    with pytest.raises(InvalidRequest, match="draft: tiny would be its own draft"):
        Model(tiny_model, draft=tiny_model)


def test_what_writes_no_text_neither_is_a_draft_nor_has_one(
    tiny_model: Path, speech_folder: Path, minilm: Path
) -> None:
    for other in (speech_folder, minilm):
        with pytest.raises(UnsupportedModel, match=f"draft: {other.name} .* cannot complete text"):
            Model(tiny_model, draft=other)
        with pytest.raises(InvalidRequest, match=f"draft: .* {other.name} .* writes no text"):
            Model(other, draft=tiny_model)
        with Model(other) as loaded, pytest.raises(UnsupportedModel, match="draft: "):
            Model(tiny_model, draft=loaded)


def test_another_vocabulary_is_refused_with_what_differs(tiny_model: Path, small: Path) -> None:
    def rename(document: Any) -> None:
        tokens = document["model"]["vocab"]
        document["model"]["vocab"] = {
            ("renamed" if id == 70 else token): id for token, id in tokens.items()
        }

    with_tokens(small, rename)
    said = "draft: small has another vocabulary than tiny: token 70 is 'renamed', not "
    with pytest.raises(InvalidRequest, match=said):
        Model(tiny_model, draft=small)
    with Model(small) as loaded, pytest.raises(InvalidRequest, match=said):
        Model(tiny_model, draft=loaded)


def test_vocabularies_of_very_different_sizes_are_refused(
    tiny_model: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shorten(document: Any) -> None:
        tokens = document["model"]["vocab"]
        last = max(tokens, key=tokens.get)
        del tokens[last]

    with_tokens(small, shorten)
    monkeypatch.setattr("cactus.engine.drafts.PADDING", 0)
    with pytest.raises(InvalidRequest, match=r"small has another .* tokens, not \d+; a draft must"):
        Model(tiny_model, draft=small)
    monkeypatch.undo()
    with Model(tiny_model, draft=small) as model:  # as of models filled up to different sizes
        assert model.draft == "small"


def test_both_count_in_the_memory_that_is_free(
    tiny_model: Path,
    small: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    size = (tiny_model / "model.safetensors").stat().st_size
    monkeypatch.setattr(fit, "available_bytes", lambda: size * 3 // 2)
    Model(tiny_model).close()
    assert not caplog.messages
    Model(tiny_model, draft=small).close()
    [told] = caplog.messages
    assert told.startswith("tiny and its draft small: ") and "leave the draft out" in told


def test_nothing_stays_open_of_a_draft_that_is_refused(
    tiny_model: Path, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    close = loading.Programs.close

    def closing(programs: Any) -> None:
        closed.append(programs._folder.name)
        close(programs)

    monkeypatch.setattr(loading.Programs, "close", closing)
    monkeypatch.setattr("cactus.engine.drafts.check_vocabulary", refuse)
    with pytest.raises(CactusError, match="no"):
        load(tiny_model, draft=small)
    assert sorted(closed) == ["small", "tiny"]


def refuse(*_: Any) -> None:
    raise InvalidRequest("no")
