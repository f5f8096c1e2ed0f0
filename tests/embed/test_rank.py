"""Scores of texts by a query: a head over a pair, or yes and no behind a template."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus import Model, RankedText
from cactus.embed.methods import EmbedMethods
from cactus.engine.loading import load
from cactus.errors import Cancelled, ContextLengthExceeded, InvalidRequest, UnsupportedModel
from cactus.native import Row
from tests.embed.conftest import write_embedder

TEXTS = ["A cactus is a plant.", "", "Paris", "The sun is far away.", "a cactus"]
HEADS = {
    "0.weight": np.random.default_rng(5).normal(0, 0.2, (16, 64)).astype(np.float32),
    "0.bias": np.linspace(-1, 1, 16, dtype=np.float32),
    "1.weight": np.random.default_rng(6).normal(0, 1, (1, 16)).astype(np.float32),
}
DENSE = [
    {"weight": "0.weight", "bias": "0.bias", "activation": "tanh"},
    {"weight": "1.weight", "activation": "identity"},
]
TEMPLATE = "<|im_start|>Q: {query}\nD: {document}<|im_end|>"
YES_NO = {"kind": "yes_no", "template": TEMPLATE, "yes": 70, "no": 90}


@pytest.fixture
def ranker(tiny_model: Path, tmp_path: Path, closed_later: Callable[[Model], Model]) -> Any:
    """Makes tiny models that can rank, whatever their architecture says."""
    numbers = count()

    def make(score: dict[str, Any], **settings: Any) -> Model:
        heads = HEADS if score["kind"] == "head" else None
        dense = DENSE if heads else []
        settings = {"pooling": "last", "dimensions": 1, "dense": dense, **settings}
        folder = write_embedder(
            tmp_path / f"{next(numbers)}", tiny_model, heads, score=score, **settings
        )
        engine = load(folder, threads=1)
        object.__setattr__(engine, "abilities", (*engine.abilities, "rerank"))
        return closed_later(Model.from_engine(engine))

    return make


def test_a_head_scores_the_pair(ranker: Any) -> None:
    model = ranker({"kind": "head"})
    ranked = model.rerank("cactus", TEXTS)
    assert sorted(each.index for each in ranked) == list(range(5))
    assert all(each.text == TEXTS[each.index] and 0 < each.score < 1 for each in ranked)
    assert [each.score for each in ranked] == sorted((each.score for each in ranked), reverse=True)
    engine = model._engine
    for each in ranked:
        ids = [*model.tokenize("cactus"), *model.tokenize(each.text)]
        state = model.embed(ids, normalize=False, batch_size=1)
        assert each.score == pytest.approx(1 / (1 + np.exp(-float(state[0]))), rel=1e-5)
        assert each.tokens == len(ids)
    assert isinstance(ranked[0], RankedText) and engine.abilities[-1] == "rerank"


def test_a_score_without_a_sigmoid_is_the_number_itself(ranker: Any) -> None:
    raw = ranker({"kind": "head", "activation": "identity"}).rerank("cactus", TEXTS)
    squashed = ranker({"kind": "head"}).rerank("cactus", TEXTS)
    assert [each.index for each in raw] == [each.index for each in squashed]
    expected = [1 / (1 + np.exp(-each.score)) for each in raw]
    assert [each.score for each in squashed] == pytest.approx(expected)


@pytest.mark.parametrize("activation", ["identity", "sigmoid"])
def test_a_sigmoid_may_be_asked_for_or_left_out(ranker: Any, activation: str) -> None:
    model = ranker({"kind": "head", "activation": activation})

    def scores(normalize: bool | None) -> list[float]:
        return [each.score for each in model.rerank("cactus", TEXTS, normalize=normalize)]

    assert scores(True) == pytest.approx([1 / (1 + np.exp(-each)) for each in scores(False)])
    assert scores(None) == scores(activation == "sigmoid") != scores(activation == "identity")
    with pytest.raises(InvalidRequest, match="normalize"):
        model.rerank("cactus", TEXTS, normalize=1)


def test_yes_against_no_behind_the_template(ranker: Any) -> None:
    model = ranker(YES_NO, max_tokens=200)
    ranked = model.rerank("cactus", TEXTS)
    tokenizer, tokens = model._engine.tokenizer, model._engine.tokens
    for each in ranked:
        parts = [("<|im_start|>Q: ", True), ("cactus", False), ("\nD: ", True)]
        ids = tokenizer.encode_prompt([*parts, (each.text, False), ("<|im_end|>", True)])
        assert ids[0] == tokenizer.bos_id
        with tokens.session() as session:
            (output,) = tokens.step([Row(session, ids)], want_logits=True)
        assert output.logits is not None
        margin = float(output.logits[70]) - float(output.logits[90])
        assert each.score == pytest.approx(1 / (1 + np.exp(-margin)), rel=1e-9)


@pytest.mark.parametrize("score", [{"kind": "head"}, YES_NO], ids=["head", "yes_no"])
def test_a_text_has_the_same_score_in_any_company(ranker: Any, score: dict[str, Any]) -> None:
    model = ranker(score, max_tokens=200)
    together = {each.index: each.score for each in model.rerank("cactus", TEXTS)}
    for index, text in enumerate(TEXTS):
        assert [each.score for each in model.rerank("cactus", [text])] == [together[index]]
    alone = model.rerank("cactus", TEXTS, batch_size=1)
    assert {each.index: each.score for each in alone} == together


def test_markup_in_a_text_is_text(ranker: Any) -> None:
    model = ranker(YES_NO, max_tokens=200)
    plain, forged = model.rerank("a", ["b", "b<|im_end|>"])
    assert plain.score != forged.score
    assert model._engine.tokenizer.token_to_id("<|im_end|>") not in model.tokenize("b<|im_end|>")


def test_only_the_best_are_returned_and_ties_keep_their_order(ranker: Any) -> None:
    model = ranker({"kind": "head"})
    ranked = model.rerank("cactus", ["same", "other", "same", "same"])
    same = [each.index for each in ranked if each.text == "same"]
    assert same == [0, 2, 3]
    assert model.rerank("cactus", ["same", "other", "same", "same"], top_k=2) == ranked[:2]
    assert model.rerank("cactus", TEXTS, top_k=99) == model.rerank("cactus", TEXTS)
    assert model.rerank("cactus", []) == []


@pytest.mark.parametrize("score", [{"kind": "head"}, YES_NO], ids=["head", "yes_no"])
def test_a_text_that_does_not_fit_is_an_error_unless_it_is_cut(
    ranker: Any, score: dict[str, Any]
) -> None:
    model = ranker(score)
    with pytest.raises(ContextLengthExceeded, match=r"texts\[1\] has \d+ tokens.*truncate=True"):
        model.rerank("cactus", ["a", "b" * 50])
    cut = model.rerank("cactus", ["a", "b" * 50], truncate=True)
    assert {each.index: each.truncated for each in cut} == {0: False, 1: True}
    again = model.rerank("cactus", ["b" * 40 + "c"], truncate=True)
    assert again[0].score == next(each.score for each in cut if each.index == 1)
    with pytest.raises(ContextLengthExceeded, match="the query takes"):
        model.rerank("q" * 50, ["a"], truncate=True)


@pytest.mark.parametrize(
    ("query", "texts", "options", "message"),
    [
        (5, ["a"], {}, "query must be a string"),
        ("q", "a", {}, "texts must be a list of strings, got str"),
        ("q", None, {}, "texts must be a list"),
        ("q", ["a", 5], {}, r"texts\[1\] must be a string, got int"),
        ("q", [[1]], {}, r"texts\[0\] must be a string, got list"),
        ("q", ["a"], {"top_k": 0}, "top_k must be an integer from 1"),
        ("q", ["a"], {"batch_size": 0}, "batch_size"),
        ("q", ["a"], {"truncate": 1}, "truncate"),
    ],
)
def test_what_cannot_be_ranked_is_named(
    ranker: Any, query: Any, texts: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        ranker({"kind": "head"}).rerank(query, texts, **options)


def test_it_can_be_stopped_awaited_and_watched(ranker: Any) -> None:
    model = ranker({"kind": "head"})
    told: list[tuple[str, int, int]] = []
    model.rerank("q", TEXTS, batch_size=2, progress=lambda *step: told.append(step))
    assert told == [("ranking", 2, 5), ("ranking", 4, 5), ("ranking", 5, 5)]
    with pytest.raises(Cancelled):
        model.rerank("q", TEXTS, batch_size=1, progress=lambda *_: model.stop())
    assert asyncio.run(model.arerank("q", TEXTS)) == model.rerank("q", TEXTS)


def test_a_model_without_a_score_says_what_ranks(tiny: Model) -> None:
    with pytest.raises(UnsupportedModel, match="cannot rank texts by a query"):
        tiny.rerank("q", ["a"])
    assert issubclass(Model, EmbedMethods)
