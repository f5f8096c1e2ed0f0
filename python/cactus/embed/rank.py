"""How well texts answer a query, by a model that reads both together."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence

from cactus.calls.stop_flag import StopFlag
from cactus.embed.encoder import Encoder
from cactus.embed.pooling import F32
from cactus.embed.settings import FILE
from cactus.embed.texts import Item
from cactus.errors import ModelFormatError
from cactus.types import RankedText


def rank(
    encoder: Encoder,
    query: str,
    texts: Sequence[str],
    most: int | None,
    truncate: bool,
    normalize: bool | None,
    top: int | None,
    stop: StopFlag,
) -> Generator[int, None, list[RankedText]]:
    """The `top` best of the texts (None: all), the best first; ties keep the order they came in.

    `normalize`: scores through a sigmoid, or as they are; None as the model has it.
    Yields how many are scored, after each step but the last. Raises ContextLengthExceeded for a
    text that does not fit beside the query, if it is not to be cut; Cancelled.
    """
    scored: list[RankedText] = []
    for done in encoder.steps.run(_items(encoder, query, texts, truncate), most, stop):
        for item, pooled in done:
            score, text = _score(encoder, item, pooled, normalize), texts[item.index]
            scored.append(RankedText(item.index, score, text, item.cut, len(item.ids)))
        if len(scored) < len(texts):
            yield len(scored)
    return sorted(scored, key=lambda each: (-each.score, each.index))[:top]


def _items(encoder: Encoder, query: str, texts: Sequence[str], truncate: bool) -> Iterator[Item]:
    score, reader = encoder.settings.score, encoder.reader
    if score is None:
        raise ModelFormatError(
            f"{encoder.loaded.folder / FILE} says nothing of a score; convert the model again"
        )
    asked = reader.query(query) if score.kind == "head" else []
    for index, text in enumerate(texts):
        name = f"texts[{index}]"
        if score.kind == "head":
            yield reader.pair(index, asked, text, truncate, name)
        else:
            yield reader.question(index, query, text, truncate, name)


def _score(encoder: Encoder, item: Item, pooled: F32, normalize: bool | None) -> float:
    score = encoder.settings.score
    assert score is not None
    if score.kind == "yes_no":
        yes, no = encoder.head(item, pooled[[score.yes, score.no]])
        value = float(yes) - float(no)
    else:
        value = float(encoder.head(item, pooled)[0])
    normalize = score.activation == "sigmoid" if normalize is None else normalize
    return _sigmoid(value) if normalize else value


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
