"""The tokenizers of text encoders in GGUF files: WordPiece ("bert") and Unigram ("t5")."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from cactus.errors import TokenizerError
from cactus.inputs.checks import short
from cactus.tokenizer.document import document

CONTROL = 3

WORDPIECE_IDS = {"bos": 101, "eos": 102, "unk": 100, "pad": 0}
"""Of a WordPiece file that does not say: those of BERT."""

_SPACE = "\u2581"


def wordpiece(
    tokens: Sequence[str], types: Sequence[int], added: list[dict[str, Any]], unknown: str
) -> dict[str, Any]:
    """A ``tokenizer.json`` of BERT's kind: lower case, no accents, longest pieces first.

    llama.cpp marks the beginning of a word where BERT marks what continues one, so that is turned
    round; it keeps control tokens, and in old files all in brackets, as they are.
    """
    vocabulary: dict[str, int] = {}
    for id, (text, kind) in enumerate(zip(tokens, types, strict=True)):
        if kind == CONTROL or (text.startswith("[") and text.endswith("]") and len(text) > 2):
            piece = text
        elif text.startswith(_SPACE) and len(text) > 1:
            piece = text[1:]
        else:
            piece = f"##{text}"
        if piece in vocabulary:
            raise TokenizerError(
                f"tokenizer.ggml.tokens[{id}] and [{vocabulary[piece]}] are both {short(piece)}"
            )
        vocabulary[piece] = id
    normalizer = {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    }
    model = {
        "type": "WordPiece",
        "unk_token": unknown,
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": vocabulary,
    }
    made = document(
        added,
        normalizer,
        {"type": "BertPreTokenizer"},
        {"type": "WordPiece", "prefix": "##", "cleanup": True},
        {},
    )
    return made | {"model": model}


def unigram(
    metadata: Mapping[str, Any],
    tokens: Sequence[str],
    scores: Sequence[float],
    table: Sequence[int],
    added: list[dict[str, Any]],
) -> dict[str, Any]:
    """A ``tokenizer.json`` of SentencePiece's Unigram: the likeliest pieces of a text.

    ``table`` has the bytes by which letters are replaced before, if any are.
    """
    unknown = metadata.get("tokenizer.ggml.unknown_token_id")
    if type(unknown) is not int or not 0 <= unknown < len(tokens):
        raise TokenizerError(
            f"tokenizer.ggml.unknown_token_id is {short(unknown)}; expected an id in "
            f"0..{len(tokens) - 1}"
        )
    if len(scores) != len(tokens) or any(score != score for score in scores):
        raise TokenizerError(
            f"tokenizer.ggml.scores must be {len(tokens)} numbers, one for each token"
        )
    normalizer = None
    if table:
        data = bytes(value & 0xFF for value in table)
        coded = base64.b64encode(data).decode("ascii")
        normalizer = {"type": "Precompiled", "precompiled_charsmap": coded}
    prefix = bool(metadata.get("tokenizer.ggml.add_space_prefix", True))
    space = {
        "type": "Metaspace",
        "replacement": _SPACE,
        "prepend_scheme": "always" if prefix else "never",
        "split": True,
    }
    model = {
        "type": "Unigram",
        "unk_id": unknown,
        "vocab": [[text, float(score)] for text, score in zip(tokens, scores, strict=True)],
        "byte_fallback": False,
    }
    splits = {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, space]}
    return document(added, normalizer, splits, space, {}) | {"model": model}
