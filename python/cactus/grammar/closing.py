"""A short way to the end of a grammar, for an answer whose tokens run out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from cactus.grammar.table import Table

Quotes = Literal["outside", "inside", "escaped"]
"""Where a text of JSON is: outside of strings, inside of one, or behind its backslash."""

OUTSIDE = b'}]),:ntf0123456789"-[{'
"""What ends something stands before what goes on, and that before what begins something."""


def quotes_after(data: bytes, quotes: Quotes) -> Quotes:
    """Where `data` leads."""
    if quotes == "outside" and b'"' not in data:
        return quotes
    for byte in data:
        if quotes == "escaped":
            quotes = "inside"
        elif byte == ord('"'):
            quotes = "inside" if quotes == "outside" else "outside"
        elif byte == ord("\\") and quotes == "inside":
            quotes = "escaped"
    return quotes


def closing(
    matcher: LLMatcher, table: Table, closers: Sequence[list[int]], quotes: Quotes, most: int
) -> list[int] | None:
    """Tokens that lead to an end of the grammar, at most `most`; None where none was found.

    A greedy search: it closes what it can, and begins only what it must. `closers` end texts
    without quotes. The matcher is left as it was.
    """
    way: list[int] = []
    used: Counter[int] = Counter()
    try:
        while not matcher.is_accepting():
            forced: list[int] = matcher.compute_ff_tokens()
            if not forced:
                forced = next(
                    (way for way in closers if matcher.validate_tokens(way) == len(way)), []
                )
            if not forced:
                token = _next(matcher, table, quotes, used)
                if token is None:
                    return None
                used[token] += 1
                forced = [token]
            if len(way) + len(forced) > most or not matcher.consume_tokens(forced):
                return None
            way += forced
            quotes = quotes_after(b"".join(table.bytes[token] for token in forced), quotes)
        return way
    finally:
        if way and not matcher.is_error():
            matcher.rollback(len(way))


def _next(matcher: LLMatcher, table: Table, quotes: Quotes, used: Counter[int]) -> int | None:
    """The token that promises the nearest end; None where the matcher allows none."""
    import numpy as np

    mask = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    bits = np.unpackbits(mask, bitorder="little")
    markup = [id for id in table.markup - table.ends if id < bits.size and bits[id]]
    if markup:
        return min(markup)
    for byte in OUTSIDE if quotes == "outside" else b'"':
        id = table.plain.get(bytes((byte,)))
        if id is not None and bits[id]:
            return id
    # In turn: so that each character has come that a pattern may be waiting for.
    allowed = [id for id in table.letters if bits[id]] or np.flatnonzero(bits).tolist()
    return min(allowed, key=lambda id: (used[id], id), default=None)
