"""The parts of a ``tokenizer.json`` that is built here."""

from __future__ import annotations

from typing import Any


def document(
    added_tokens: list[dict[str, Any]],
    normalizer: dict[str, Any] | None,
    pre_tokenizer: dict[str, Any] | None,
    decoder: dict[str, Any],
    model: dict[str, Any],
) -> dict[str, Any]:
    """A ``tokenizer.json``; ``model`` has what differs from a BPE without options."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added_tokens,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": decoder,
        "model": {
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
        }
        | model,
    }


def byte_level(*, use_regex: bool = True) -> dict[str, Any]:
    """GPT-2's letters for bytes, as pre-tokenizer or decoder; ``use_regex`` splits text, too."""
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": use_regex,
    }


def around(
    before: list[tuple[str, int]], after: list[tuple[str, int]], *, twice: bool = False
) -> dict[str, Any]:
    """The post-processor that puts special tokens, as text and id, around a text.

    Of two texts each is followed by ``after``, the first one ``twice`` if that is said, and the
    second is of type 1.
    """
    first, second = ({"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB"))
    heads = [_special(token, 0) for token, _ in before]
    tails, ends = ([_special(token, kind) for token, _ in after] for kind in (0, 1))
    between = tails * 2 if twice else tails
    return {
        "type": "TemplateProcessing",
        "single": [*heads, first, *tails],
        "pair": [*heads, first, *between, second, *ends],
        "special_tokens": {
            token: {"id": token, "ids": [id], "tokens": [token]} for token, id in [*before, *after]
        },
    }


def _special(token: str, kind: int) -> dict[str, Any]:
    return {"SpecialToken": {"id": token, "type_id": kind}}
