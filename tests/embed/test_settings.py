"""embedding.json: every field is checked, and an error names the file and the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus import Model
from cactus.embed.settings import Settings, read_settings
from cactus.errors import CactusError, InvalidRequest, ModelFormatError, UnsupportedModel
from cactus.weights.format.safetensors import write_safetensors
from tests.embed.conftest import BASE, Make, write_embedder


def read(folder: Path, **settings: Any) -> Settings:
    (folder / "embedding.json").write_text(json.dumps({**BASE, **settings}))
    return read_settings(folder)


def test_without_the_file_it_is_the_mean_of_all_states(tmp_path: Path) -> None:
    found = read_settings(tmp_path)
    assert (found.pooling, found.normalize, found.score) == ("mean", False, None)
    assert found.prompt("query") == found.prompt(None) == ""


def test_everything_that_is_said_is_read(tmp_path: Path) -> None:
    dense = {"weight": "dense.0.weight", "bias": None, "activation": "tanh"}
    norm = {"weight": "n.w", "bias": None, "eps": 1e-6}
    found = read(
        tmp_path,
        pooling="last",
        normalize=True,
        prompts={"query": "q: ", "document": "d: "},
        default_prompt="document",
        lower_case=True,
        strip=False,
        dense=[dense, {**dense, "activation": "gelu", "norm": norm}],
        matryoshka=[64, 32],
        similarity="dot",
        skip_tokens=[1, 2],
        score={"kind": "head", "labels": 1, "activation": "identity"},
    )
    assert (found.pooling, found.normalize, found.dimensions, found.max_tokens) == (
        *("last", True),
        *(64, 40),
    )
    assert (found.prompt("query"), found.prompt(None), found.prompt("")) == ("q: ", "d: ", "")
    assert found.lower_case and not found.strip and found.similarity == "dot"
    assert [each.activation for each in found.dense] == ["tanh", "gelu"]
    assert found.dense[1].norm is not None and found.dense[1].norm.eps == 1e-6
    assert found.matryoshka == (64, 32) and found.skip_tokens == {1, 2}
    assert found.score is not None and found.score.activation == "identity"


def test_a_template_has_three_parts(tmp_path: Path) -> None:
    score = {"kind": "yes_no", "template": "a {query} b {document} c", "yes": 5, "no": 6}
    found = read(tmp_path, score=score).score
    assert found is not None and found.parts == ("a ", " b ", " c")
    assert (found.yes, found.no, found.activation) == (5, 6, "sigmoid")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"version": 2}, "version 2 was written by a newer version"),
        ({"version": "1"}, "version"),
        ({"pooling": "sum"}, "pooling 'sum' is not supported; known: mean, cls"),
        ({"pooling": None}, "pooling: want a value"),
        ({"normalize": "yes"}, "normalize: want true or false"),
        ({"normalize": None}, "normalize: want a value"),
        ({"dimensions": 0}, "dimensions: want an integer from 1"),
        ({"dimensions": None}, "dimensions: want a value"),
        ({"max_tokens": -1}, "max_tokens: want an integer from 1"),
        ({"prompts": ["a"]}, "prompts: want an object of texts"),
        ({"prompts": {"query": 5}}, "prompts: want an object of texts"),
        ({"default_prompt": "query"}, "default_prompt: want one of the names in prompts"),
        ({"default_prompt": 5}, "default_prompt: want a text"),
        ({"lower_case": 1}, "lower_case: want true or false"),
        ({"strip": "no"}, "strip: want true or false"),
        ({"dense": {}}, "dense: want a list of objects"),
        ({"dense": [5]}, r"dense\[0\]: want a JSON object, got int"),
        ({"dense": [{}]}, r"dense\[0\]: weight: want a text"),
        ({"dense": [{"weight": "w", "bias": 5}]}, r"dense\[0\]: bias: want a text"),
        ({"dense": [{"weight": "w", "activation": "exp"}]}, "activation 'exp' is not supported"),
        ({"dense": [{"weight": "w", "norm": {"eps": 1}}]}, "norm: weight: want a text"),
        ({"dense": [{"weight": "w", "norm": {"weight": "v", "eps": -1}}]}, "norm: eps: want"),
        ({"matryoshka": 32}, "matryoshka: want a list of whole numbers"),
        ({"matryoshka": [65]}, "matryoshka: want an integer from 1 to 64"),
        ({"similarity": "l2"}, "similarity 'l2' is not supported"),
        ({"skip_tokens": [-1]}, "skip_tokens: want an integer from 0"),
        ({"score": 5}, "score: want a JSON object"),
        ({"score": {}}, "score: kind: want a value"),
        ({"score": {"kind": "head", "labels": 3}}, "score: the head has 3 labels"),
        ({"score": {"kind": "head", "activation": "softmax"}}, "score: activation 'softmax'"),
        ({"score": {"kind": "yes_no", "yes": 1, "no": 2}}, "score: template: want a text"),
        (
            {"score": {"kind": "yes_no", "template": "{document} {query}", "yes": 1, "no": 2}},
            "template: want a text with {query}, then {document}",
        ),
        ({"score": {"kind": "yes_no", "template": "{query}{document}", "no": 2}}, "score: yes"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises((ModelFormatError, UnsupportedModel), match=message) as caught:
        read(tmp_path, **settings)
    assert str(tmp_path / "embedding.json") in str(caught.value)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"version": NaN}', "null"])
def test_a_file_that_is_no_object_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "embedding.json").write_text(content)
    with pytest.raises(ModelFormatError, match=r"embedding\.json"):
        read_settings(tmp_path)


def layer(name: str, activation: str = "identity", **more: Any) -> dict[str, Any]:
    return {"weight": f"{name}.weight", "bias": f"{name}.bias", "activation": activation, **more}


def test_heads_are_dense_layers_behind_the_pooling(embedder: Make, tiny: Model) -> None:
    random = np.random.default_rng(3)
    names = {"a.weight": (32, 64), "a.bias": (32,), "b.weight": (24, 32), "b.bias": (24,)}
    heads = {name: random.normal(0, 0.3, shape).astype(np.float32) for name, shape in names.items()}
    heads |= {"n.weight": np.linspace(1, 2, 24, dtype=np.float32)}
    norm = {"weight": "n.weight", "bias": None, "eps": 1e-5}
    model = embedder(heads, dense=[layer("a", "gelu"), layer("b", norm=norm)], dimensions=24)
    x = tiny.embed("abc").astype(np.float64)
    x = heads["a.weight"] @ x + heads["a.bias"]
    x = np.array([0.5 * each * (1 + __import__("math").erf(each / 2**0.5)) for each in x])
    x = heads["b.weight"] @ x + heads["b.bias"]
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-5) * heads["n.weight"]
    assert model.embedding_dimensions == 24
    assert np.allclose(model.embed("abc"), x, atol=1e-4)
    together = model.embed(["abc", "d", "efg" * 9])
    assert together[0].tobytes() == model.embed("abc").tobytes()


@pytest.mark.parametrize(
    ("activation", "formula"),
    [
        ("tanh", np.tanh),
        ("relu", lambda x: np.maximum(x, 0)),
        ("silu", lambda x: x / (1 + np.exp(-x))),
    ],
)
def test_activations_are_what_they_are_called(
    embedder: Make, tiny: Model, activation: str, formula: Any
) -> None:
    heads = {"a.weight": np.eye(64, dtype=np.float32)}
    model = embedder(heads, dense=[{"weight": "a.weight", "activation": activation}])
    assert np.allclose(model.embed("abc"), formula(tiny.embed("abc")), atol=1e-5)


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        (None, r"heads\.safetensors: no such file"),
        ({"b.weight": np.ones((8, 64), np.float32)}, "tensor 'a.weight' is missing"),
        ({"a.weight": np.ones((8, 32), np.float32)}, r"F32 \[8, 32\], expected F32 \[any, 64\]"),
        ({"a.weight": np.ones((8, 64), np.float16)}, r"F16 \[8, 64\], expected F32"),
        ({"a.weight": np.ones((64,), np.float32)}, r"F32 \[64\], expected"),
        (
            {"a.weight": np.ones((8, 64), np.float32), "a.bias": np.ones(64, np.float32)},
            r"tensor 'a.bias' is F32 \[64\], expected F32 \[8\]",
        ),
        (
            {"a.weight": np.ones((9, 64), np.float32), "a.bias": np.ones(9, np.float32)},
            "dimensions is 8, and the model gives 9",
        ),
    ],
)
def test_heads_that_do_not_fit_are_named(embedder: Make, heads: Any, message: str) -> None:
    model = embedder(heads, dense=[layer("a")], dimensions=8)
    with pytest.raises(CactusError, match=message):
        model.embed("a")
    assert str(model.chat("a", max_tokens=1)) is not None, "what else it can do it still can"


@pytest.mark.fault("F12")
def test_damaged_tensors_are_an_error_and_no_nan(embedder: Make) -> None:
    heads = {"a.weight": np.full((8, 64), np.nan, np.float32), "a.bias": np.ones(8, np.float32)}
    model = embedder(heads, dense=[layer("a")], dimensions=8)
    with pytest.raises(CactusError, match="NaN or infinity"):
        model.embed("a")


def test_a_folder_whose_settings_have_changed_has_another_fingerprint(
    tiny_model: Path, tmp_path: Path
) -> None:
    from cactus.embed.embedder import ModelEmbedder

    seen = set()
    for n, settings in enumerate([{}, {"pooling": "last"}, {"prompts": {"query": "q"}}]):
        folder = write_embedder(tmp_path / f"{n}", tiny_model, **settings)
        with ModelEmbedder.load(folder, threads=1) as made:
            seen.add(made.fingerprint)
    with ModelEmbedder.load(tiny_model, threads=2) as made:
        seen.add(made.fingerprint)
        assert len(seen) == 4
        with ModelEmbedder.load(tiny_model, threads=1) as again:
            assert again.fingerprint == made.fingerprint


def test_a_prompt_that_there_is_not_is_named_with_those_that_there_are() -> None:
    settings = Settings(prompts={"query": "q", "cluster": "c"})
    assert settings.prompt("cluster") == "c" and settings.prompt("document") == ""
    with pytest.raises(InvalidRequest, match="one of 'query', 'document', 'cluster', got 'x'"):
        settings.prompt("x")


def test_the_writer_of_these_tests_writes_what_is_read(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "heads.safetensors", {"a": np.ones((2, 3), np.float32)})
    assert read(tmp_path).dimensions == BASE["dimensions"]
