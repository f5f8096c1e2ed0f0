"""``/v1/rerank`` and its other paths, in the shapes of Cohere, Jina and vLLM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cactus import Model
from tests.embed.conftest import write_embedder
from tests.embed.test_rank import DENSE, HEADS
from tests.server.running import serving

TEXTS = ["A cactus is a plant.", "Paris", "The sun is far away.", "a cactus"]
QUERY = "cactus"


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that ranks texts and does nothing else."""
    target = tmp_path_factory.mktemp("ranker") / "ranker"
    return write_embedder(
        target, tiny_model, HEADS, use="rerank", pooling="last", dimensions=1, dense=DENSE,
        score={"kind": "head"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def address(folder: Path, tiny_model: Path) -> Iterator[str]:
    with serving(tiny_model, folder) as found:
        yield found.url


@pytest.fixture(scope="module")
def ranked(folder: Path) -> Any:
    with Model(folder, threads=1) as model:
        return model.rerank(QUERY, TEXTS)


def post(address: str, path: str = "/v1/rerank", **body: Any) -> httpx.Response:
    body = {"model": "ranker", "query": QUERY, "documents": TEXTS, **body}
    return httpx.post(f"{address}{path}", json=body)


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_scores_are_those_of_the_model(address: str, ranked: Any, path: str) -> None:
    reply = post(address, path).json()
    found = [(each["index"], each["relevance_score"]) for each in reply["results"]]
    assert found == [(each.index, each.score) for each in ranked]
    read = sum(each.tokens for each in ranked)
    assert reply["usage"] == {"prompt_tokens": read, "total_tokens": read}
    assert read == sum(len(QUERY) + len(text) for text in TEXTS)  # bytes are its tokens
    assert reply["model"] == "ranker"
    assert reply["meta"]["api_version"]["version"] == ("2" if path == "/v2/rerank" else "1")


def test_documents_come_back_as_each_client_expects(address: str) -> None:
    def texts(**given: Any) -> list[Any]:
        return [each.get("document") for each in post(address, **given).json()["results"]]

    for path in ("/v1/rerank", "/rerank"):
        assert all(each["text"] in TEXTS for each in texts(path=path))
        assert texts(path=path, return_documents=False) == [None] * 4
    assert texts(path="/v2/rerank") == [None] * 4
    assert all(each["text"] in TEXTS for each in texts(path="/v2/rerank", return_documents=True))


def test_the_best_are_kept_and_all_are_counted(address: str, ranked: Any) -> None:
    reply = post(address, top_n=2).json()
    assert [each["index"] for each in reply["results"]] == [each.index for each in ranked[:2]]
    assert reply["usage"]["total_tokens"] == sum(each.tokens for each in ranked)
    assert len(post(address, top_n=99).json()["results"]) == 4


def test_a_document_may_be_an_object(address: str, ranked: Any) -> None:
    documents = [TEXTS[0], *({"text": text, "title": "not read"} for text in TEXTS[1:])]
    reply = post(address, documents=documents, rank_fields=["text"]).json()
    assert [each["relevance_score"] for each in reply["results"]] == [each.score for each in ranked]


def test_a_document_that_does_not_fit_is_an_error_that_names_it(address: str) -> None:
    documents = ["short", "long " * 40]
    reply = post(address, documents=documents)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["param"], error["code"]) == ("documents[1]", "context_length_exceeded")
    results = post(address, documents=documents, truncate=True).json()["results"]
    assert {each["index"]: each.get("truncated") for each in results} == {0: None, 1: True}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"documents": []}, "documents"),
        ({"documents": ["a"] * 10_001}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"documents": [1]}, "documents[0]"),
        ({"documents": [{"title": "a"}]}, "documents[0]"),
        ({"documents": ["a", None]}, "documents[1]"),
        ({"query": ""}, "query"),
        ({"query": None}, "query"),
        ({"query": "a" * 50}, None),
        ({"top_n": 0}, "top_n"),
        ({"top_n": "2"}, "top_n"),
        ({"rank_fields": ["title"]}, "rank_fields"),
        ({"max_tokens_per_doc": 100}, "max_tokens_per_doc"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_field(
    address: str, body: dict[str, Any], param: str | None
) -> None:
    reply = post(address, **body)
    assert reply.status_code == 400
    if param is not None:
        assert reply.json()["error"]["param"] == param, reply.json()


def test_an_error_has_the_shape_of_the_client(address: str) -> None:
    reply = post(address, "/v2/rerank", documents=[])
    assert reply.status_code == 400
    assert set(reply.json()) == {"message"}
    assert reply.json()["message"].startswith("documents: Expected ")
    assert "error" in post(address, "/v1/rerank", documents=[]).json()


def tei(address: str, **body: Any) -> httpx.Response:
    """What text-embeddings-inference's clients send: Haystack's ranker, here, and curl."""
    given = {"query": QUERY, "texts": TEXTS, "model": "ranker", **body}
    return httpx.post(f"{address}/rerank", json=given)


def test_texts_are_ranked_as_text_embeddings_inference_does(folder: Path, address: str) -> None:
    with Model(folder, threads=1) as model:
        for raw in (True, False):
            ranked = model.rerank(QUERY, TEXTS, normalize=not raw)
            reply = tei(
                address, raw_scores=raw, return_text=True, truncate=False,
                truncation_direction="Right",
            )  # fmt: skip
            assert reply.json() == [
                {"index": each.index, "score": each.score, "text": each.text} for each in ranked
            ]
    assert [set(each) for each in tei(address, model=None).json()] == [{"index", "score"}] * 4
    assert len(tei(address, top_n=3).json()) == 3


def test_of_a_text_that_is_too_long_the_beginning_is_read(address: str) -> None:
    texts = ["short", "long " * 40]
    error = tei(address, texts=texts).json()["error"]
    assert (error["param"], error["code"]) == ("texts[1]", "context_length_exceeded")
    assert {each["index"] for each in tei(address, texts=texts, truncate=True).json()} == {0, 1}
    refused = tei(address, texts=texts, truncate=True, truncation_direction="Left")
    assert refused.json()["error"]["param"] == "truncation_direction"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"texts": None}, "documents"),
        ({"documents": TEXTS}, "documents"),
        ({"texts": []}, "texts"),
        ({"texts": [{"text": "a"}]}, "texts[0]"),
        ({"raw_scores": "yes"}, "raw_scores"),
        ({"truncation_direction": "up"}, "truncation_direction"),
        ({"query": ""}, "query"),
    ],
)
def test_texts_that_cannot_be_ranked_are_refused_by_their_field(
    address: str, body: dict[str, Any], param: str
) -> None:
    reply = tei(address, **body)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param, reply.json()


def test_a_model_of_another_kind_is_refused(address: str) -> None:
    reply = post(address, model="tiny")
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "model"


def test_the_model_that_ranks_is_found_without_a_name(address: str) -> None:
    assert post(address, model=None).json()["model"] == "ranker"
