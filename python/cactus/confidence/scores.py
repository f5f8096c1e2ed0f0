"""From what the steps said of an answer's tokens to its scores."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cactus.confidence.entropy import WINDOW
from cactus.types import Scores


class Token(NamedTuple):
    """What is known of one token of an answer.

    `margin` is the probability of the likeliest token less that of the second. `content`: whether
    the model chose it, for the text.
    """

    logprob: float
    margin: float
    confidence: float
    content: bool = True


FORCED = Token(0.0, 1.0, 1.0, False)
"""A token that a grammar left no choice about."""


def margin(top: Sequence[tuple[int, float]]) -> float:
    """How much more probable the first of the likeliest tokens is than the second, 0 to 1."""
    return math.exp(top[0][1]) - math.exp(top[1][1]) if len(top) > 1 else 1.0


def score(tokens: Sequence[Token], entropy: float) -> Scores | None:
    """The scores of the content of `tokens`; None where there is none of it."""
    content = [token for token in tokens if token.content]
    if not content:
        return None
    logprobs = [token.logprob for token in content]
    ordered = sorted(logprobs)
    margins = [token.margin for token in content]
    return Scores(
        content_tokens=len(content),
        logprob_mean=sum(logprobs) / len(content),
        logprob_min=ordered[0],
        logprob_p10=_quantile(ordered, 0.1),
        logprob_window=_least_mean(logprobs),
        margin_mean=sum(margins) / len(content),
        margin_min=min(margins),
        entropy=entropy,
    )


def only_values(
    tokens: Sequence[Token], pieces: Sequence[bytes], calls: Sequence[Mapping[str, Any]]
) -> list[Token]:
    """`tokens` with those alone as content that spell the names and values of `calls`.

    `pieces` are the bytes of the tokens. Values are looked for one after another, as they are or
    as JSON has them; where none is found, the tokens are returned as they were.
    """
    written = b"".join(pieces)
    spans: list[tuple[int, int]] = []
    at = 0
    for call in calls:
        for value in (call["name"], *_leaves(call["arguments"])):
            found = _find(written, value, at)
            if found is not None:
                spans.append(found)
                at = found[1]
    if not spans:
        return list(tokens)
    kept: list[Token] = []
    end = 0
    for token, piece in zip(tokens, pieces, strict=True):
        start, end = end, end + len(piece)
        said = any(start < last and first < end for first, last in spans)
        kept.append(token if said else token._replace(content=False))
    return kept


def _leaves(value: Any) -> Iterator[Any]:
    """What is in a JSON value and has no parts."""
    if isinstance(value, dict):
        for each in value.values():
            yield from _leaves(each)
    elif isinstance(value, list):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def _find(written: bytes, value: Any, start: int) -> tuple[int, int] | None:
    """Where `value` stands in `written`, at `start` or behind it."""
    exact, plain = json.dumps(value, ensure_ascii=False), json.dumps(value)
    texts = [exact[1:-1], plain[1:-1], value] if isinstance(value, str) else [exact, repr(value)]
    for text in texts:
        sought = text.encode("utf-8", "replace")
        at = written.find(sought, start) if sought else -1
        if at >= 0:
            return at, at + len(sought)
    return None


def _least_mean(values: Sequence[float]) -> float:
    """The least mean of `WINDOW` values in a row, or of all where they are fewer."""
    size = min(WINDOW, len(values))
    return min(sum(values[end - size : end]) for end in range(size, len(values) + 1)) / size


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Between the two nearest of `ordered`, as far as it lies between them."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
