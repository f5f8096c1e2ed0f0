"""An embedder as retrieval knows it: unit vectors, tokens, offsets, a fingerprint."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from cactus import Model
from cactus.calls.stop_flag import StopFlag
from cactus.embed.embedder import ModelEmbedder
from cactus.errors import Cancelled, ModelClosed, UnsupportedModel
from cactus.retrieval.types import Embedder
from tests.embed.conftest import Make


def test_a_model_is_an_embedder_of_unit_vectors(tiny: Model) -> None:
    made: Embedder = ModelEmbedder(tiny)
    assert (made.name, made.dimensions, made.max_tokens) == ("tiny", 64, 512)
    vectors = made.embed(["Hello", "", "world " * 30], "document")
    assert type(vectors) is np.ndarray and vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1).tolist() == pytest.approx([1, 0, 1])
    assert made.embed([], "query").shape == (0, 64)
    assert made.embed(["Hello"], "query").tobytes() == vectors[:1].tobytes()


def test_queries_and_documents_have_their_prompts_and_long_texts_are_cut(embedder: Make) -> None:
    model = embedder(prompts={"query": "q: ", "passage": "p: "})
    made = ModelEmbedder(model)
    for kind, prompt in (("query", "q: "), ("document", "p: ")):
        expected = model.embed([f"{prompt}{'a' * 37}"], normalize=True)
        found = made.embed(["a" * 100], kind)  # type: ignore[arg-type]
        assert found.tobytes() == expected.tobytes()


def test_offsets_say_where_tokens_begin(tiny: Model) -> None:
    made, text = ModelEmbedder(tiny), "a bé 世x"
    offsets = made.token_offsets(text)
    assert offsets.dtype == np.int64 and len(offsets) == len(tiny.tokenize(text))
    assert [text[at] for at in dict.fromkeys(offsets.tolist())] == list(text)
    assert (np.diff(offsets) >= 0).all() and made.token_offsets("").size == 0


def test_progress_is_told_and_a_flag_stops_it(tiny: Model) -> None:
    made, flag, told = ModelEmbedder(tiny), StopFlag(), list[tuple[str, int, int]]()

    def progress(label: str, done: int, total: int) -> None:
        told.append((label, done, total))
        flag.set()

    with pytest.raises(Cancelled):
        made.embed(["a" * 200] * 9, "document", progress, flag)
    assert told == [("embedding", 1, 9)]
    assert made.embed(["a"], "query").shape == (1, 64)


def test_it_frees_only_a_model_of_its_own(tiny: Model, tiny_model: Path) -> None:
    with ModelEmbedder(tiny):
        pass
    assert tiny.embed("a").shape == (64,)
    own = ModelEmbedder.load(tiny_model, threads=1)
    assert (
        own.embed(["a"], "query").tobytes() == ModelEmbedder(tiny).embed(["a"], "query").tobytes()
    )
    own.close()
    own.close()
    with pytest.raises(ModelClosed):
        own.embed(["a"], "query")


def test_what_makes_no_vectors_is_refused_and_freed(speech_folder: Path) -> None:
    with pytest.raises(UnsupportedModel, match="cannot embed text"):
        ModelEmbedder.load(speech_folder, threads=1)


def test_any_thread_may_ask(tiny: Model) -> None:
    made, seen = ModelEmbedder(tiny), list[bytes]()
    threads = [
        threading.Thread(target=lambda: seen.append(made.embed(["ab"] * 9, "query").tobytes()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(seen) == 4 and len(set(seen)) == 1
