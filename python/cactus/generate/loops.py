"""An answer that only repeats itself, noticed while it is being written."""

from __future__ import annotations

KEY = 4
"""Tokens by which the place is found where the same was said before."""

MOST_TOKENS = 64
"""So many tokens may repeat what was said one period before."""

MOST_TIMES = 4
"""And so many times may a longer period be said."""


class LoopGuard:
    """Notices that the last tokens are one period, again and again, exactly.

    A loop is a period that was said more than `MOST_TIMES` times and has repeated itself for more
    than `MOST_TOKENS` tokens. Lists, tables, counting and code change something in every line, so
    their periods do not come so far. Every token costs a few look-ups, whatever the period.
    """

    def __init__(self) -> None:
        self._tokens: list[int] = []
        self._places: dict[tuple[int, ...], int] = {}
        self._period = 0
        self._repeated = 0

    def add(self, token: int) -> bool:
        """The next token of the answer; True where it goes on with a loop."""
        tokens = self._tokens
        place = len(tokens)
        tokens.append(token)
        key = tuple(tokens[-KEY:])
        if self._period and tokens[place - self._period] == token:
            self._repeated += 1
        else:
            # The nearest place where the same tokens stood: of several periods the shortest.
            before = self._places.get(key) if place >= KEY else None
            self._period = place - before if before is not None else 0
            self._repeated = KEY if self._period else 0
        self._places[key] = place
        return self._repeated > max(MOST_TOKENS, (MOST_TIMES - 1) * self._period)
