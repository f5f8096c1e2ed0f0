"""Which files of a repository are fetched, and what is refused before its weights are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cactus.errors import ModelFormatError
from cactus.model import Model
from cactus.models.uses import abilities_of
from cactus.weights.download import download_model
from cactus.weights.locate import read_config
from tests.models import vision
from tests.weights.mmproj import write_mmproj, write_text

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


def test_a_model_that_sees_comes_with_what_cuts_its_images(server, root, tool, tmp_path) -> None:
    models = tool("published_vision")
    config = models.tiny(models.VISION[0].config)
    tool("make_random_checkpoint").write(config, tmp_path / "source")
    files = {path.name: path.read_bytes() for path in (tmp_path / "source").iterdir()}
    files["processor_config.json"] = json.dumps({"use_thumbnail": False}).encode()
    # As the first checkpoints had it.
    older = config | {"model_type": "lfm2-vl", "image_token_index": config["image_token_id"]}
    files["config.json"] = json.dumps(older).encode()
    server.add("LiquidAI/LFM2-VL-450M", files)
    folder = download_model("LiquidAI/LFM2-VL-450M", ability="see")
    assert folder == root / "lfm2-vl-450m"
    for name in ("preprocessor_config.json", "processor_config.json"):
        assert (folder / name).read_bytes() == files[name]
    found = read_config(folder)
    assert found["model_type"] == "lfm2_vl" and "see" in abilities_of(found)
    assert (folder / "vision.safetensors").stat().st_size > 0


def test_the_file_with_which_a_gguf_model_sees_comes_with_it(server, root, tmp_path) -> None:
    golden = vision.load("lfm2_vl", tmp_path)
    text = write_text("lfm2_vl", golden, tmp_path / "files")
    eyes = write_mmproj("lfm2_vl", golden, tmp_path / "mmproj.gguf").read_bytes()
    files = {"model-Q8_0.gguf": text.read_bytes()}
    files |= {f"mmproj-model-{kind}.gguf": eyes for kind in ("F32", "Q8_0", "F16")}
    server.add("acme/Seeing-GGUF", files, gguf="lfm2")
    folder = download_model("acme/Seeing-GGUF")
    assert set(server.fetched()) == {"model-Q8_0.gguf", "mmproj-model-Q8_0.gguf"}
    assert read_config(folder)["model_type"] == "lfm2_vl"
