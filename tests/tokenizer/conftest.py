"""Tokenizers of several kinds: the starter's, SentencePiece, words, and one with odd tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cactus.tokenizer import Tokenizer, write_tokenizer
from cactus.weights.sources.gguf.read import read_gguf

GOLDEN: dict[str, Any] = json.loads(
    (Path(__file__).parent / "golden" / "llama_cpp.json").read_text()
)


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    """Strings, and their ids as llama.cpp gives them."""
    return GOLDEN


@pytest.fixture(scope="session")
def starter_metadata(starter_gguf: Path) -> dict[str, Any]:
    return dict(read_gguf(starter_gguf).metadata)


@pytest.fixture(scope="session")
def starter_files(
    starter_metadata: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("starter")
    write_tokenizer(starter_metadata, folder)
    return folder


@pytest.fixture(scope="session")
def starter(starter_files: Path) -> Tokenizer:
    return Tokenizer.load(starter_files)


def sentencepiece_metadata() -> dict[str, Any]:
    """A GGUF file's metadata with the small SentencePiece vocabulary of the golden file."""
    pieces = GOLDEN["sentencepiece"]
    names = {"tokens": "tokens", "scores": "scores", "token_type": "token_type"}
    return {
        "tokenizer.ggml.model": "llama",
        **{f"tokenizer.ggml.{name}": list(pieces[key]) for name, key in names.items()},
    }


@pytest.fixture(scope="session")
def sentencepiece(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("sentencepiece")
    write_tokenizer(sentencepiece_metadata(), folder)
    return Tokenizer.load(folder)


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Word pieces with CLS and SEP, as embedding models have them."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello", "world", "##s", "!", "play", "##ing"]
    backend = Backend(models.WordPiece({t: i for i, t in enumerate(tokens)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    backend.add_special_tokens(tokens[:4])
    folder = tmp_path_factory.mktemp("words")
    backend.save(str(folder / "tokenizer.json"))
    return Tokenizer.load(folder)


def byte_level_document(
    extra: tuple[str, ...] = (), merges: tuple[str, ...] = ("a b", "ab c", "c d", "Ġ a")
) -> dict[str, Any]:
    """A small byte-level ``tokenizer.json``: 256 letters, a few merges, ``extra`` added tokens."""
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(letters)}
    for merge in merges:
        vocabulary.setdefault(merge.replace(" ", ""), len(vocabulary))
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    added = [added_token(len(vocabulary) + i, text) for i, text in enumerate(extra)]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": list(merges),
        },
    }


def added_token(index: int, content: str, **flags: bool) -> dict[str, Any]:
    return {
        "id": index,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
        **flags,
    }


def write_files(folder: Path, document: Any, **configs: Any) -> Path:
    """``tokenizer.json`` and ``<name>.json`` files in a folder."""
    (folder / "tokenizer.json").write_text(json.dumps(document))
    for name, config in configs.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    return folder
