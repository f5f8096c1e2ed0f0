"""A model whose tokenizer could not be loaded is refused before its weights are written."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from cactus.errors import CactusError, TokenizerError
from cactus.tokenizer import Tokenizer
from cactus.weights.convert import convert
from cactus.weights.rounding.calibrate import tokenize
from cactus.weights.sources.checkpoint import check_tokenizer_files
from tests.conftest import write_tiny_checkpoint
from tests.weights.forge import BOOL, STRING, U32, tiny_llama
from tests.weights.made import write

BOMB = {
    "type": "Split",
    "pattern": {"Regex": r"[a-z ]*\d"},
    "behavior": "Isolated",
    "invert": False,
}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    write_tiny_checkpoint(folder)
    return folder


def change(folder: Path, name: str, **values: Any) -> None:
    """Replace keys of a JSON file, which need not be there yet."""
    path = folder / name
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(old | values))


def remove(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def only_sentencepiece(folder: Path) -> None:
    remove(folder)
    (folder / "tokenizer.model").write_bytes(b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02")


def empty(folder: Path) -> None:
    model = {"type": "BPE", "vocab": {}, "merges": []}
    change(folder, "tokenizer.json", model=model, added_tokens=[])


DAMAGES = {
    "no tokenizer.json": (remove, r"tokenizer\.json is missing, and vocab\.json and merges\.txt"),
    "tokenizer.model alone": (only_sentencepiece, r"tokenizer\.model alone .*save_pretrained"),
    "end ids out of range": (
        lambda folder: change(folder, "generation_config.json", eos_token_id=[2, 9999]),
        r"generation_config\.json: eos_token_id is \[2, 9999\]; expected ids in 0\.\.\d+",
    ),
    "an end that is not in the vocabulary": (
        lambda folder: change(folder, "tokenizer_config.json", eos_token="<gone>"),
        r"eos_token '<gone>' is not in the vocabulary",
    ),
    "an empty vocabulary": (empty, r"tokenizer\.json: the vocabulary is empty"),
    "a slow expression": (
        lambda folder: change(folder, "tokenizer.json", pre_tokenizer=BOMB),
        r"regular expression .* is too slow",
    ),
    "no tokenizer": (
        lambda folder: (folder / "tokenizer.json").write_text("{}"),
        r"tokenizer\.json is damaged",
    ),
}


@pytest.mark.fault("F17")
@pytest.mark.parametrize(("damage", "said"), DAMAGES.values(), ids=DAMAGES.keys())
def test_what_cannot_be_loaded_is_not_converted(
    damage: Any, said: str, checkpoint: Path, tmp_path: Path
) -> None:
    damage(checkpoint)
    for run in (
        lambda: convert(checkpoint, tmp_path / "out", "INT4"),
        lambda: check_tokenizer_files(checkpoint),  # without looking at the weights
    ):
        with pytest.raises(TokenizerError, match=said) as refused:
            run()
        assert str(refused.value).startswith(f"{checkpoint}: ")
    assert not (tmp_path / "out").exists()
    assert not [entry for entry in tmp_path.iterdir() if "partial" in entry.name]


def test_the_small_files_are_enough_for_the_check(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    before = sorted(checkpoint.iterdir())
    check_tokenizer_files(checkpoint)
    assert sorted(checkpoint.iterdir()) == before


@pytest.mark.fault("F17")
@pytest.mark.parametrize(
    ("key", "kind", "value"),
    [
        ("eos_token_id", U32, 9999),
        ("eot_token_id", U32, 272),
        ("model", STRING, "unheard-of"),
        ("add_bos_token", BOOL, 2),
    ],
)
def test_a_gguf_whose_tokenizer_is_damaged_is_not_converted(
    key: str, kind: int, value: Any, tmp_path: Path
) -> None:
    model = tiny_llama()
    model.set(f"tokenizer.ggml.{key}", kind, value)
    with pytest.raises(CactusError, match=rf"tokenizer\.ggml\.{key}"):
        convert(write(tmp_path, model), tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.gguf"]


@pytest.mark.fault("F17")
def test_calibration_runs_no_expression_that_loading_refuses(checkpoint: Path) -> None:
    change(checkpoint, "tokenizer.json", pre_tokenizer=BOMB)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            tokenize("a" * 360_000, checkpoint, 300)
        except TokenizerError as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert failures and "too slow" in str(failures[0])


def vocabulary_files(folder: Path, kind: str) -> None:
    """The tokenizer of a folder as vocab.json, merges.txt and added tokens with flags."""
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*letters, "he", "ll", "hell", "Ġ1"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\nh e\nl l\nhe ll\nĠ 1\n", "utf-8")
    flags = {"single_word": False, "lstrip": False, "rstrip": True, "normalized": False}
    added = {
        "260": {"content": "<|im_start|>", "special": True, **flags},
        "261": {"content": "<|im_end|>", "special": True, **flags},
    }
    change(
        folder,
        "tokenizer_config.json",
        tokenizer_class=kind,
        added_tokens_decoder=added,
        bos_token=None,
    )
    change(folder, "config.json", eos_token_id=261)


@pytest.mark.parametrize(
    ("kind", "ids"),
    [
        # As transformers' AutoTokenizer gives them for these files.
        ("GPT2Tokenizer", [258, 78, 259, 17, 18]),
        ("Qwen2Tokenizer", [258, 78, 220, 16, 17, 18]),
        ("Qwen2TokenizerFast", [258, 78, 220, 16, 17, 18]),
    ],
)
def test_a_tokenizer_is_built_from_vocabulary_and_merges(
    kind: str, ids: list[int], checkpoint: Path, tmp_path: Path
) -> None:
    remove(checkpoint)
    vocabulary_files(checkpoint, kind)
    check_tokenizer_files(checkpoint)
    convert(checkpoint, tmp_path / "out", "INT8")
    tokenizer = Tokenizer.load(tmp_path / "out")
    assert tokenizer.encode("hello 123") == ids
    assert tokenizer.decode(ids) == "hello 123"
    assert tokenizer.eos_ids == (261,)
    parts = [("<|im_start|>\n", True), ("he", False), ("<|im_end|>", True)]
    assert tokenizer.encode_prompt(parts) == [260, 256, 261]


@pytest.mark.fault("F17")
@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("merges.txt", "h q\n", r"merges\.txt: line 1 is 'h q'; expected 'left right'"),
        ("merges.txt", "he\n", r"merges\.txt: line 1 is 'he'"),
        ("vocab.json", "{}", r"vocab\.json: the vocabulary is empty"),
        ("vocab.json", '{"a": -1}', r"vocab\.json: 'a' is -1; expected an id"),
        ("vocab.json", "[1]", r"vocab\.json: expected a JSON object, got list"),
        ("vocab.json", '{"\\ud800": 0}', r"vocab\.json: not valid JSON: .*surrogates"),
        ("added_tokens.json", '{"\\ud800": 260}', r"added_tokens\.json: not valid JSON"),
        (
            "tokenizer_config.json",
            '{"tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": {"%s": {"content": "x"}}}'
            % ("1" * 5000),
            r"added_tokens_decoder\['1{80}…' \(5000 characters\)\] is",
        ),
        (
            "tokenizer_config.json",
            '{"tokenizer_class": "LlamaTokenizer"}',
            "'LlamaTokenizer'; only",
        ),
        ("tokenizer_config.json", "{}", "tokenizer_class is None; only GPT2Tokenizer and Qwen2"),
        ("added_tokens.json", '{"<x>": 999}', "'<x>' has the id 999; expected 262"),
    ],
)
def test_files_from_which_no_tokenizer_can_be_built(
    name: str, text: str, said: str, checkpoint: Path
) -> None:
    remove(checkpoint)
    vocabulary_files(checkpoint, "GPT2Tokenizer")
    (checkpoint / name).write_text(text)
    with pytest.raises(TokenizerError, match=said):
        check_tokenizer_files(checkpoint)
