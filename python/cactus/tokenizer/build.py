"""Building a ``tokenizer.json`` from ``vocab.json`` and ``merges.txt``.

Repositories of some years ago have these two alone. What is missing in them, how text is split
before bytes are merged, follows from the class that ``tokenizer_config.json`` names. The result
gives the ids that transformers' tokenizer of that class gives.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cactus.errors import ModelFormatError, TokenizerError
from cactus.inputs.checks import short
from cactus.inputs.files import parse_object
from cactus.tokenizer.config import FLAGS, is_id
from cactus.tokenizer.document import byte_level, document
from cactus.tokenizer.gguf import QWEN2

VOCABULARY_FILES = (
    *("vocab.json", "merges.txt", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json", "tokenizer.model"),
)
"""The files that ``build_tokenizer`` wants to see, where they exist."""

_SPLIT_QWEN2 = {
    "type": "Split",
    "pattern": {"Regex": QWEN2},
    "behavior": "Isolated",
    "invert": False,
}
_QWEN2 = (
    {"type": "NFC"},
    {"type": "Sequence", "pretokenizers": [_SPLIT_QWEN2, byte_level(use_regex=False)]},
)
_CLASSES: dict[str, tuple[dict[str, Any] | None, dict[str, Any]]] = {
    "GPT2Tokenizer": (None, byte_level()),
    "Qwen2Tokenizer": _QWEN2,
}
"""Normalizer and pre-tokenizer by the name of the class."""


def build_tokenizer(files: Mapping[str, bytes], folder: Path) -> None:
    """Write ``tokenizer.json`` into ``folder``; ``files`` are those of VOCABULARY_FILES there are.

    Raises TokenizerError naming the file and the field, or what is missing.
    """
    if "vocab.json" not in files or "merges.txt" not in files:
        raise TokenizerError(_missing(files))
    config = _object("tokenizer_config.json", files)
    kind = config.get("tokenizer_class")
    parts = _CLASSES.get(kind.removesuffix("Fast")) if isinstance(kind, str) else None
    if parts is None:
        raise TokenizerError(
            "tokenizer.json is missing, and tokenizer_config.json: tokenizer_class is "
            f"{short(kind)}; only {' and '.join(_CLASSES)} are built from vocab.json and "
            f"merges.txt. {_ADVICE}"
        )
    vocabulary = _object("vocab.json", files)
    if not vocabulary:
        raise TokenizerError("vocab.json: the vocabulary is empty")
    for text, id in vocabulary.items():
        if type(id) is not int or not 0 <= id < 1 << 31:
            raise TokenizerError(f"vocab.json: {short(text)} is {short(id)}; expected an id")
    normalizer, pre_tokenizer = parts
    model = {"type": "BPE", "vocab": vocabulary, "merges": _merges(files, vocabulary)}
    added = _added_tokens(files, config, vocabulary)
    built = document(added, normalizer, pre_tokenizer, byte_level(), model)
    (folder / "tokenizer.json").write_text(json.dumps(built, ensure_ascii=False), "utf-8")


_ADVICE = (
    "Make tokenizer.json with transformers: "
    "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
)


def _missing(files: Mapping[str, bytes]) -> str:
    if "tokenizer.model" in files:
        return f"tokenizer.json is missing, and tokenizer.model alone is not read. {_ADVICE}"
    return (
        "tokenizer.json is missing, and vocab.json and merges.txt, from which it could be built, "
        "are not there either; the model cannot read text without it. Copy it there from where "
        "the model was published"
    )


def _object(name: str, files: Mapping[str, bytes]) -> dict[str, Any]:
    try:
        return parse_object(files.get(name, b"{}"), name)
    except ModelFormatError as error:
        raise TokenizerError(str(error)) from None


def _merges(files: Mapping[str, bytes], vocabulary: Mapping[str, int]) -> list[str]:
    """The lines of merges.txt; the first may say a version instead."""
    try:
        lines = files["merges.txt"].decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"merges.txt is not UTF-8: {error}") from None
    merges = []
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        left, space, right = line.partition(" ")
        if not space or not {left, right, left + right} <= vocabulary.keys():
            raise TokenizerError(
                f"merges.txt: line {number} is {short(line)}; expected 'left right' where left, "
                "right and leftright are in vocab.json"
            )
        merges.append(line)
    return merges


def _added_tokens(
    files: Mapping[str, bytes], config: Mapping[str, Any], vocabulary: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Tokens that are found before text is split, in the order of their ids.

    They lie in ``added_tokens_decoder`` with their flags, in added_tokens.json without; the special
    ones may be in the vocabulary and be named alone.
    """
    found: dict[str, dict[str, Any]] = {}
    decoder = config.get("added_tokens_decoder") or {}
    named = _object("special_tokens_map.json", files).values()
    for entry in ["<|endoftext|>", *named]:
        text = entry.get("content") if isinstance(entry, dict) else entry
        if isinstance(text, str) and text in vocabulary:
            found[text] = {"id": vocabulary[text], "content": text, "special": True}
    for text, id in _object("added_tokens.json", files).items():
        found[text] = {"id": id, "content": text, "special": text.startswith("<|")}
    for id, entry in decoder.items() if isinstance(decoder, dict) else ():
        text = entry.get("content") if isinstance(entry, dict) else None
        if not isinstance(text, str) or not is_id(id):
            raise TokenizerError(
                f"tokenizer_config.json: added_tokens_decoder[{short(id)}] is {short(entry)}"
            )
        flags = {flag: entry[flag] is True for flag in FLAGS if flag in entry}
        found[text] = {"id": int(id), "content": text, **flags}
    return _numbered(found, vocabulary)


def _numbered(
    found: Mapping[str, dict[str, Any]], vocabulary: Mapping[str, int]
) -> list[dict[str, Any]]:
    """The tokens in the order of their ids, which have to be those that the library will give."""
    wrong = [text for text, token in found.items() if type(token["id"]) is not int]
    if wrong:
        raise TokenizerError(f"added_tokens.json: {short(wrong[0])} has no id")
    tokens, next_id = [], len(vocabulary)
    for token in sorted(found.values(), key=lambda token: token["id"]):
        expected = vocabulary.get(token["content"], next_id)
        if token["id"] != expected:
            raise TokenizerError(
                f"the added token {short(token['content'])} has the id {token['id']}; expected "
                f"{expected}, the next one after vocab.json and the tokens before it"
            )
        next_id += token["content"] not in vocabulary
        tokens.append(dict.fromkeys(FLAGS, False) | token)
    return tokens
