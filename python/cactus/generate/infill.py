"""Filling in the middle: the prompt of a model that was trained to write what stands between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cactus.errors import UnsupportedModel
from cactus.inputs.checks import text

if TYPE_CHECKING:
    from cactus.engine.loaded import Loaded

MARKUP = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("<PRE>", "<SUF>", "<MID>"),
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
)
"""What stands before the text in front, before the text behind, and before what is to be written:
of Qwen and CodeGemma, StarCoder and Granite, SantaCoder, DeepSeek, and two forms of Code Llama."""


def infill_ids(engine: Loaded, prefix: str, suffix: str) -> list[int]:
    """The tokens behind which a model writes what belongs between two texts.

    Raises UnsupportedModel for a model whose vocabulary has no such markup, and
    ContextLengthExceeded.
    """
    from cactus.generate.prompt import UNQUESTIONED, check_size, encode_raw

    front, behind = text("prefix", prefix), text("suffix", suffix)
    tokenizer = engine.tokenizer
    for names in MARKUP:
        ids = [id for id in map(tokenizer.token_to_id, names) if id is not None]
        if len(ids) == len(names):
            check_size(engine, [(front, False), (behind, False)], UNQUESTIONED)
            start = encode_raw(engine, "", parse_special=False)
            return [
                *start,
                ids[0],
                *tokenizer.encode(front),
                ids[1],
                *tokenizer.encode(behind),
                ids[2],
            ]
    raise UnsupportedModel(
        f"suffix: {engine.name} was not trained to fill in the middle: its vocabulary has no "
        "tokens for that; leave the suffix out"
    )
