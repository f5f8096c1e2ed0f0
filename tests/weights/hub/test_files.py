"""Which files of a repository are fetched, and what is refused before its weights are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cactus.errors import ModelFormatError
from cactus.model import Model
from cactus.weights.download import download_model

TINY = "acme/Tiny-Llama"

NO_TOKENIZER = {"tokenizer.json": None}
BAD_END = {"generation_config.json": {"eos_token_id": 300}}
NO_SUCH_END = {"tokenizer_config.json": {"eos_token": "<|gone|>"}}
BOMB = {
    "tokenizer.json": {
        "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": "(a+)+$"},
            "behavior": "Isolated",
            "invert": False,
        },
    }
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (NO_TOKENIZER, r"tokenizer\.json"),
        (BAD_END, r"generation_config\.json: eos_token_id is 300"),
        (NO_SUCH_END, r"eos_token '<\|gone\|>' is not in the vocabulary"),
        (BOMB, "regular expression"),
    ],
    ids=["no tokenizer", "an end token out of range", "an unknown end token", "a slow expression"],
)
def test_a_tokenizer_that_cannot_be_loaded_is_refused_before_the_weights_come(
    server, root: Path, files, changes, said: str
) -> None:
    for name, value in changes.items():
        files.pop(name, None)
        if value is not None:
            files[name] = json.dumps(value).encode()
    server.add(TINY, files)
    with pytest.raises(ModelFormatError, match=said):
        download_model(TINY)
    assert "model.safetensors" not in server.fetched() and not (root / "tiny-llama").exists()


def test_a_tokenizer_in_two_files_is_fetched_and_built(server, root, files) -> None:
    document = json.loads(files.pop("tokenizer.json"))
    files["vocab.json"] = json.dumps(document["model"]["vocab"]).encode()
    files["merges.txt"] = b"#version: 0.2\n"
    settings = json.loads(files["tokenizer_config.json"]) | {"tokenizer_class": "GPT2Tokenizer"}
    files["tokenizer_config.json"] = json.dumps(settings).encode()
    server.add(TINY, files)
    with Model(download_model(TINY)) as model:
        assert model.tokenize("hi")
