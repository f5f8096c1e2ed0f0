"""What sentence-transformers' files say of a checkpoint becomes embedding.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus import Model
from cactus.embed.settings import read_settings
from cactus.errors import CactusError, ModelFormatError, UnsupportedModel
from cactus.weights.convert import convert
from cactus.weights.format.safetensors import write_safetensors
from cactus.weights.sources.known_embedders import complete, known_settings
from tests.models import encoders

ST = "sentence_transformers.models."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """BERT with mean pooling and vectors of unit length."""
    return encoders.write("bert", tmp_path / "all-tiny")


def say(path: Path, **values: Any) -> None:
    old = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(old | values))


def modules(folder: Path, *kinds: tuple[str, str]) -> None:
    listed = [{"type": ST + kind, "path": path} for kind, path in kinds]
    (folder / "modules.json").write_text(json.dumps(listed))


def settings(folder: Path) -> dict[str, Any]:
    target = folder.parent / "made"
    convert(folder, target)
    read_settings(target)  # the reader takes what the writer writes
    found: dict[str, Any] = json.loads((target / "embedding.json").read_text())
    return found


def test_all_files_are_read(folder: Path) -> None:
    say(folder / "1_Pooling" / "config.json", pooling_mode_mean_tokens=False)
    say(folder / "1_Pooling" / "config.json", pooling_mode_max_tokens=True)
    say(folder / "sentence_bert_config.json", max_seq_length=17, do_lower_case=True)
    say(
        folder / "config_sentence_transformers.json",
        prompts={"query": "q: ", "passage": "p: "},
        default_prompt_name="query",
        similarity_fn_name="dot",
    )
    assert settings(folder) == {
        "version": 1,
        "pooling": "max",
        "normalize": True,
        "dimensions": 32,
        "max_tokens": 17,
        "prompts": {"query": "q: ", "passage": "p: ", "document": "p: "},
        "default_prompt": "query",
        "lower_case": True,
        "dense": [],
        "matryoshka": None,
        "similarity": "dot",
        "score": None,
    }


def test_the_limit_is_never_more_than_the_model_has(folder: Path) -> None:
    assert settings(folder)["max_tokens"] == 64
    say(folder / "tokenizer_config.json", model_max_length=10**30)
    assert settings(folder)["max_tokens"] == 64
    say(folder / "tokenizer_config.json", model_max_length=50)
    assert settings(folder)["max_tokens"] == 50
    say(folder / "sentence_bert_config.json", max_seq_length=8192)
    assert settings(folder)["max_tokens"] == 64


@pytest.mark.parametrize(
    ("mode", "pooling"), [("cls", "cls"), (["lasttoken"], "last"), ("mean", "mean")]
)
def test_later_versions_name_the_pooling(folder: Path, mode: object, pooling: str) -> None:
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": mode}))
    assert settings(folder)["pooling"] == pooling


def test_of_a_known_name_prompts_follow(folder: Path, tmp_path: Path) -> None:
    named = folder.rename(tmp_path / "multilingual-e5-tiny")
    assert settings(named)["prompts"] == {"query": "query: ", "document": "passage: "}
    say(named / "config_sentence_transformers.json", prompts={"query": "own: "})
    assert settings(named)["prompts"] == {"query": "own: "}
    (named / "modules.json").unlink()
    assert settings(named)["normalize"]


def test_names_that_are_known() -> None:
    assert known_settings("BAAI/bge-small-en-v1.5")["pooling"] == "cls"
    assert known_settings("nomic-ai/nomic-embed-text-v1.5")["matryoshka"][-1] == 64
    assert "matryoshka" not in known_settings("nomic-ai/nomic-embed-text-v1")
    assert known_settings("intfloat/multilingual-e5-large-instruct")["prompts"] == {}
    assert known_settings("somebody/else") == {}
    made = complete({"prompts": {"Retrieval-query": "x"}, "pooling": "mean"}, "else", said=True)
    assert made["prompts"]["query"] == "x"


@pytest.mark.parametrize(
    ("kinds", "error", "said"),
    [
        ([("Transformer", ""), ("Pooling", "../x")], ModelFormatError, "the name of a class and"),
        ([("Transformer", "0_T"), ("Pooling", "1_Pooling")], UnsupportedModel, "lies in 0_T"),
        (
            [("Transformer", ""), ("Pooling", "1_Pooling"), ("Asym", "2_A")],
            UnsupportedModel,
            "Asym",
        ),
        (
            [("Transformer", ""), ("Normalize", ""), ("Pooling", "1_Pooling")],
            UnsupportedModel,
            "Pooling follows Normalize",
        ),
        (
            [("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense")],
            CactusError,
            "2_Dense",
        ),
    ],
)
def test_modules_that_are_not_known_are_refused(
    folder: Path, kinds: list[tuple[str, str]], error: type[CactusError], said: str
) -> None:
    modules(folder, *kinds)
    with pytest.raises(error, match=said):
        settings(folder)


@pytest.mark.parametrize(
    ("file", "values", "said"),
    [
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True}, "pooling by"),
        ("1_Pooling/config.json", {"pooling_mode": "weightedmean"}, "pooling by"),
        ("1_Pooling/config.json", {"pooling_mode": 5}, "pooling by 5"),
        ("sentence_bert_config.json", {"do_lower_case": "yes"}, "do_lower_case"),
        ("config_sentence_transformers.json", {"prompts": {"query": 1}}, "prompts"),
        ("config_sentence_transformers.json", {"default_prompt_name": "x"}, "default_prompt_name"),
        ("config_sentence_transformers.json", {"default_prompt_name": []}, "default_prompt_name"),
        ("modules.json", {}, "expected a list of modules"),
    ],
)
def test_what_cannot_be_names_the_file_and_the_field(
    folder: Path, file: str, values: dict[str, Any], said: str
) -> None:
    if file == "modules.json":
        (folder / file).write_text("{}")
    else:
        say(folder / file, **values)
    with pytest.raises(CactusError, match=said) as caught:
        settings(folder)
    assert Path(file).name in str(caught.value)


def test_a_head_with_several_labels_ranks_nothing(tmp_path: Path) -> None:
    from tests.models.golden import read_tensors

    folder = encoders.write("bert_ranker", tmp_path / "nli")
    tensors = read_tensors(folder / "model.safetensors")
    three = {key: value.repeat(3, 0) for key, value in tensors.items() if "classifier" in key}
    (folder / "model.safetensors").unlink()
    write_safetensors(folder / "model.safetensors", tensors | three)
    with pytest.raises(UnsupportedModel, match="the head has 3 labels"):
        settings(folder)


def test_a_cross_encoder_says_how_it_scores(tmp_path: Path) -> None:
    made = settings(encoders.write("bert_ranker", tmp_path / "ranker"))
    assert made["score"] == {
        "kind": "head",
        "labels": 1,
        "activation": "identity",
        "template": None,
    }
    assert [layer["activation"] for layer in made["dense"]] == ["tanh", "identity"]
    assert made["pooling"] == "cls" and made["dimensions"] == 1


def test_a_separator_that_is_no_token_is_named(tmp_path: Path) -> None:
    folder = encoders.write("bert_ranker", tmp_path / "ranker")
    say(folder / "tokenizer_config.json", sep_token=["[SEP]"])
    with pytest.raises(ModelFormatError, match=r"tokenizer\.json: the vocabulary has no token"):
        settings(folder)


def test_qwen3_reranker_says_yes_or_no(tmp_path: Path) -> None:
    folder = encoders.write("qwen3_embedding", tmp_path / "Qwen3-Reranker-tiny")
    (folder / "modules.json").unlink()
    document = json.loads((folder / "tokenizer.json").read_text())
    words = {"yes" if word == "w9" else "no" if word == "w8" else word: id
             for word, id in document["model"]["vocab"].items()}  # fmt: skip
    document["model"]["vocab"] = words
    (folder / "tokenizer.json").write_text(json.dumps(document))
    made = settings(folder)
    assert (made["score"]["kind"], made["score"]["yes"], made["score"]["no"]) == ("yes_no", 9, 8)
    assert "{query}" in made["score"]["template"] and "{document}" in made["score"]["template"]


def static(folder: Path, *, normalize: bool) -> np.ndarray:
    """Write a static model; its table of vectors."""
    encoders.write("bert", folder)
    for name in ("model.safetensors", "modules.json"):
        (folder / name).unlink()
    table = np.random.default_rng(1).standard_normal((64, 32)).astype(np.float32)
    write_safetensors(folder / "model.safetensors", {"embeddings": table})
    config = {"model_type": "model2vec", "normalize": normalize, "hidden_dim": 32}
    (folder / "config.json").write_text(json.dumps(config))
    return table


@pytest.mark.parametrize("normalize", [True, False])
def test_a_static_model_is_the_mean_of_its_tokens_vectors(tmp_path: Path, normalize: bool) -> None:
    table = static(tmp_path / "static", normalize=normalize)
    convert(tmp_path / "static", tmp_path / "made", "FP32")
    with Model(tmp_path / "made") as model:
        vectors = model.embed(["w7 w9 unheard-of w7", "unheard-of"])
        long = model.embed("w7 " * 2000)
    want = table[[7, 9, 7]].mean(0)
    assert np.allclose(vectors[0], want / (np.linalg.norm(want) if normalize else 1), atol=1e-5)
    assert not vectors[1].any()
    assert np.allclose(long / np.linalg.norm(long), table[7] / np.linalg.norm(table[7]), atol=1e-5)


def test_a_static_model_of_many_languages_has_a_large_tokenizer(tmp_path: Path) -> None:
    folder = tmp_path / "static"
    static(folder, normalize=True)
    with (folder / "tokenizer.json").open("a") as file:
        file.write(" " * (20 << 20))
    assert settings(folder)["skip_tokens"] == [1]
