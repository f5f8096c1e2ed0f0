"""``/v1/embeddings``, by OpenAI's client and by hand."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from openai import BadRequestError

from cactus import Model
from tests.embed.conftest import write_embedder
from tests.server.openai.clients import client
from tests.server.openai.spec import check
from tests.server.running import serving

TEXTS = ["A cactus is a plant.", "Paris", "ä ✓ 𝄞"]
SETTINGS: dict[str, Any] = {
    "matryoshka": [16, 32, 64],
    "prompts": {"query": "q: ", "document": "d: "},
}


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embedder(tmp_path_factory.mktemp("embedder") / "vectors", tiny_model, **SETTINGS)


@pytest.fixture(scope="module")
def address(folder: Path, tiny_model: Path) -> Iterator[str]:
    with serving(folder, tiny_model) as found:
        yield found.url


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[Model]:
    with Model(folder, threads=1) as loaded:
        yield loaded


def post(address: str, body: Any) -> httpx.Response:
    return httpx.post(f"{address}/v1/embeddings", json=body)


def test_vectors_are_those_of_the_model(address: str, model: Model) -> None:
    made = client(address).embeddings.create(input=TEXTS, model="vectors", encoding_format="float")
    expected = model.embed(TEXTS, normalize=True)
    assert np.array_equal(np.float32([each.embedding for each in made.data]), expected)
    assert [each.index for each in made.data] == [0, 1, 2]
    assert made.usage.prompt_tokens == made.usage.total_tokens == sum(expected.tokens)
    assert made.model == "vectors"


def test_base64_has_the_same_bits(address: str, model: Model) -> None:
    raw = post(address, {"input": TEXTS, "model": "vectors", "encoding_format": "base64"}).json()
    rows = [np.frombuffer(base64.b64decode(each["embedding"]), "<f4") for each in raw["data"]]
    assert np.array_equal(rows, model.embed(TEXTS, normalize=True))
    # What the client asks for where nobody says how; it makes numbers of it itself.
    loose = client(address, strict=False).embeddings.create(input=TEXTS[0], model="vectors")
    assert np.array_equal(np.float32(loose.data[0].embedding), rows[0])


def test_a_reply_is_what_the_document_says(address: str) -> None:
    for given in ("one text", ["one", "two"]):
        reply = post(address, {"input": given, "model": "vectors"})
        assert reply.status_code == 200
        check("CreateEmbeddingResponse", reply.json())
        assert "truncated" not in reply.json()


def test_the_first_model_that_can_answers_where_none_is_named(address: str) -> None:
    assert post(address, {"input": "a"}).json()["model"] == "vectors"


def test_an_embedder_comes_before_models_that_chat_where_none_is_named(
    tiny_model: Path, tmp_path: Path
) -> None:
    embedder = write_embedder(tmp_path / "embedder", tiny_model, use="embed")
    with serving(tiny_model, embedder) as found:
        assert post(found.url, {"input": "a"}).json()["model"] == "embedder"
        chat = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        reply = httpx.post(f"{found.url}/v1/chat/completions", json=chat).json()
        assert reply["model"] == "tiny"


@pytest.mark.fault("F39")
@pytest.mark.parametrize("given", [[1, 2, 3], [[1, 2], [3]]])
def test_token_ids_are_refused_with_what_to_do(address: str, given: Any) -> None:
    reply = post(address, {"input": given, "model": "vectors"})
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert "check_embedding_ctx_length=False" in error["message"]
    assert error["param"] == ("input" if isinstance(given[0], int) else "input[0]")


def test_token_ids_of_this_very_model_are_read_on_request(address: str, model: Model) -> None:
    ids = [model.tokenize(text) for text in TEXTS]
    for given in (ids, ids[0]):
        made = client(address).embeddings.create(
            input=given,
            model="vectors",
            encoding_format="float",
            extra_body={"own_tokens": True},
        )
        expected = model.embed(given, normalize=True).reshape(-1, 64)
        assert np.array_equal(np.float32([each.embedding for each in made.data]), expected)


def test_dimensions_cut_vectors_to_unit_length(address: str, model: Model) -> None:
    made = client(address).embeddings.create(
        input=TEXTS, model="vectors", encoding_format="float", dimensions=32
    )
    rows = np.float32([each.embedding for each in made.data])
    assert np.array_equal(rows, model.embed(TEXTS, normalize=True, dimensions=32))
    assert rows.shape == (3, 32)
    assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-6)


def test_dimensions_of_a_model_that_was_not_trained_for_it_are_refused(address: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        client(address).embeddings.create(
            input="a", model="tiny", encoding_format="float", dimensions=32
        )
    assert refused.value.param == "dimensions"
    assert "was not trained" in refused.value.message


def test_raw_vectors_on_request(address: str, model: Model) -> None:
    reply = post(address, {"input": "a", "model": "vectors", "normalize": False})
    row = np.float32(reply.json()["data"][0]["embedding"])
    assert np.array_equal(row, model.embed("a", normalize=False))


@pytest.mark.parametrize(
    ("asked", "prompt"),
    [
        ("query", "query"),
        ("search_query", "query"),
        ("passage", "document"),
        ("search_document", "document"),
    ],
)
def test_what_a_text_is_for_chooses_the_prompt(
    address: str, model: Model, asked: str, prompt: str
) -> None:
    reply = post(address, {"input": "a", "model": "vectors", "input_type": asked})
    row = np.float32(reply.json()["data"][0]["embedding"])
    assert np.array_equal(row, model.embed("a", normalize=True, prompt=prompt))
    assert not np.array_equal(row, model.embed("a", normalize=True))


LONG = "a" * 100  # of bytes as tokens; the model takes 40


@pytest.mark.fault("F39")
def test_a_text_over_the_limit_is_an_error_that_names_it(address: str, model: Model) -> None:
    reply = post(address, {"input": ["a", LONG], "model": "vectors"})
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", "input[1]")
    assert error["message"].startswith("input[1] has 100 tokens")
    single = post(address, {"input": LONG, "model": "vectors"}).json()["error"]
    assert single["param"] == "input"

    cut = post(address, {"input": ["a", LONG], "model": "vectors", "truncate": True}).json()
    assert cut["truncated"] == [1]
    expected = model.embed(["a", LONG], normalize=True, truncate=True)
    assert np.array_equal(np.float32([each["embedding"] for each in cut["data"]]), expected)


@pytest.mark.fault("F39")
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": [[]], "own_tokens": True}, "input[0]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": ["a"] * 100_000}, "input"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": [1, "a"]}, "input[0]"),
        ({"input": [300], "own_tokens": True}, "input[0]"),
        ({"input": [-1], "own_tokens": True}, "input[0]"),
        ({"input": [2**70], "own_tokens": True}, None),
        ({"input": None}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": [1.5]}, "input[0]"),
        ({}, None),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": 65}, "dimensions"),
        ({"input": "a", "dimensions": "8"}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "input_type": "code"}, "input_type"),
        ({"input": [1], "own_tokens": True, "input_type": "query"}, "input"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_field(
    address: str, body: dict[str, Any], param: str | None
) -> None:
    reply = post(address, {"model": "vectors", **body})
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    if param is not None:
        assert error["param"] == param, error


def test_a_model_that_is_not_there_is_not_found(address: str) -> None:
    reply = post(address, {"input": "a", "model": "text-embedding-3-small"})
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "model_not_found"


@pytest.mark.fault("F39")
def test_white_space_and_odd_characters_have_finite_vectors(address: str) -> None:
    texts = [" ", "\n\t", "\u200b", "�", "\U0010ffff"]
    reply = post(address, {"input": texts, "model": "vectors"})
    assert reply.status_code == 200
    assert np.isfinite([each["embedding"] for each in reply.json()["data"]]).all()


@pytest.mark.fault("F29")
def test_half_a_character_is_an_error_or_a_vector_and_nothing_else(address: str) -> None:
    body = b'{"model": "vectors", "input": "a \\ud800 b"}'
    headers = {"content-type": "application/json"}
    reply = httpx.post(f"{address}/v1/embeddings", content=body, headers=headers)
    assert reply.status_code in (200, 400)
    json.loads(reply.content)
