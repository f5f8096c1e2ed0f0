"""What the next tokens of one answer may be, by its grammar."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from cactus.chat.reasoning import CLOSE, OPEN, Reasoning
from cactus.errors import InvalidRequest
from cactus.grammar.closing import Quotes, closing, quotes_after
from cactus.grammar.numbers import digits_left, number_in
from cactus.grammar.table import is_blank

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cactus.grammar.compile import Grammar

Phase = Literal["opening", "thinking", "leading", "body", "ended"]
"""Reasoning may begin; it goes on; white space behind it; what the grammar describes; the end."""

_FIRST: Mapping[Reasoning, Phase] = {
    "never": "body",
    "possible": "opening",
    "begun": "thinking",
}

MOST_BLANKS = 2
"""Tokens of white space between reasoning and the answer."""


# Ctrl-C while a matcher asks the vocabulary for tokens is to it a failure of its own.
_INTERRUPTED = re.compile(r"panic: .*PyErr \{ type: <class 'KeyboardInterrupt'>")


class _Place(NamedTuple):
    """What is known behind some tokens of the answer: nothing else decides what may follow."""

    phase: Phase
    tail: bytes = b""  # what was said last: where a tag may have begun, or a number goes on
    eaten: int = 0  # tokens that the matcher has
    blanks: int = 0
    quotes: Quotes = "outside"
    check: int = 0  # how many tokens are left when to see next whether the answer can still end
    short: bool = False  # the tokens run out: what is open is being closed
    plan: tuple[int, ...] | None = None  # what must follow; None where that is not known yet


class Guide:
    """Follows one answer of at most `limit` tokens through its grammar.

    All methods take the tokens of the answer so far, and give the same for the same tokens,
    whatever was asked before and wherever that was interrupted. They raise InvalidRequest where the
    grammar takes more work than its limits allow.

    Reasoning is free. It cannot end the answer. When the tokens run out, the shortest way to the
    end of the grammar is forced, so that an answer of JSON is whole; then it is `short`.
    """

    def __init__(self, grammar: Grammar, reasoning: Reasoning, limit: int) -> None:
        self._grammar, self._table, self.limit = grammar, grammar.table, limit
        self._margin = min(grammar.margin, limit // 2)
        self._matcher = grammar.start()
        self._places = [_Place(_FIRST[reasoning], check=limit // 2 + 1)]
        self._tokens: list[int] = []
        self._torn = False

    # -- what the batch asks

    def forced(self, answer: Sequence[int]) -> Sequence[int]:
        """The tokens that must follow: they need not be chosen."""
        self._go(answer)
        return self._plan()

    def possible(self, answer: Sequence[int], guesses: Sequence[int]) -> int:
        """How many of the `guesses` may follow, one after another."""
        self._go(answer)
        place = self._places[-1]
        if place.phase == "thinking":
            for n, token in enumerate(guesses):
                place = self._after(place, token)
                if place.phase != "thinking":
                    return n
            return len(guesses)
        if place.phase != "body" or self._plan():
            return 0
        found = 0
        while found < len(guesses) and guesses[found] not in self._table.ends:
            found += 1
        return self._matcher.validate_tokens(list(guesses[:found]))

    def masks(
        self, answer: Sequence[int], following: Sequence[int]
    ) -> tuple[NDArray[Any], list[bool]]:
        """What may follow `answer`, and each of the tokens `following` it: uint32 [1 + n, words].

        And for each of these whether it leaves no choice.
        """
        import numpy as np

        masks = np.empty((len(following) + 1, self._table.words), np.uint32)
        forced = []
        self._go(answer)
        for n, mask in enumerate(masks):
            forced.append(self._fill(mask))
            if n < len(following):
                self._go([*answer, *following[: n + 1]])
        return masks, forced

    def ended(self, answer: Sequence[int]) -> Literal["stop", "length"] | None:
        """Why the answer ends behind these tokens; None where it goes on."""
        self._go(answer)
        place = self._places[-1]
        if place.phase == "ended" or (place.phase == "body" and self._complete(place)):
            return "length" if place.short else "stop"
        return None

    # -- from token to token

    def _go(self, answer: Sequence[int]) -> None:
        """Be where these tokens of the answer lead."""
        if self._torn:
            self._matcher = self._grammar.start()
            del self._tokens[:], self._places[1:]
        self._torn = True
        common = len(self._tokens)
        if self._tokens != answer[:common]:
            pairs = zip(self._tokens, answer, strict=False)
            common = next((n for n, (own, new) in enumerate(pairs) if own != new), len(answer))
        if common < len(self._tokens):
            more = self._places[-1].eaten - self._places[common].eaten
            if more:
                self._matcher.rollback(more)
            del self._tokens[common:], self._places[common + 1 :]
        for token in answer[common:]:
            self._plan()  # a plan goes on where its first token comes
            self._places.append(self._eat(self._places[-1], token))
            self._tokens.append(token)
        self._torn = False

    def _eat(self, place: _Place, token: int) -> _Place:
        after = self._after(place, token)
        if after.eaten > place.eaten:
            self._matcher.consume_token(token)
            self._check()
        return after

    def _after(self, place: _Place, token: int) -> _Place:
        """Where `token` leads; the matcher has still to take it, where `eaten` has grown."""
        table = self._table
        plan = place.plan[1:] if place.plan and place.plan[0] == token else None
        place = place._replace(plan=plan or None)
        if token in table.ends or place.phase == "ended":
            return place._replace(phase="ended")
        if place.phase == "body":
            return self._in_body(place, token)
        said = place.tail + table.bytes[token]
        if place.phase == "opening":
            if not place.tail and self._matcher.validate_tokens([token]):
                return self._in_body(place, token)
            if said.startswith(OPEN.encode()):
                return place._replace(phase="thinking", tail=b"")
            return place._replace(tail=said)
        if place.phase == "thinking":
            if CLOSE.encode() in said:
                return place._replace(phase="leading", tail=b"")
            return place._replace(tail=said[1 - len(CLOSE) :])
        if place.phase == "leading" and place.blanks < MOST_BLANKS and is_blank(said):
            return place._replace(blanks=place.blanks + 1)
        return self._in_body(place, token)

    def _in_body(self, place: _Place, token: int) -> _Place:
        data = self._table.bytes[token]
        quotes = quotes_after(data, place.quotes)
        number = number_in(place.tail + data) if quotes == "outside" else b""
        return place._replace(phase="body", tail=number, eaten=place.eaten + 1, quotes=quotes)

    # -- what may follow

    def _plan(self) -> Sequence[int]:
        """What must follow at this place: decided once, from the place alone."""
        place = self._places[-1]
        if place.plan is None:
            place = self._places[-1] = self._planned(place)
        return place.plan or ()

    def _planned(self, place: _Place) -> _Place:
        left = self.limit - len(self._tokens)
        if place.phase == "ended" or place.short:
            return place._replace(plan=())
        if left <= place.check and not (place.phase == "opening" and place.tail):
            way = self._way_out(place, left)
            spare = left - len(way) - self._margin if way else left
            if way and spare <= 0:
                return place._replace(short=True, plan=tuple(way))
            # Until then a token makes the way longer by eight at most, on the average.
            place = place._replace(check=left - max(1, spare // 8))
        if place.phase != "body":
            return place._replace(plan=())
        forced = self._matcher.compute_ff_tokens()
        self._check()
        return place._replace(plan=tuple(forced))

    def _way_out(self, place: _Place, most: int) -> list[int]:
        """Tokens from here to an end; empty where there are none, or none is needed."""
        closers = self._grammar.closers
        way = closing(self._matcher, self._table, closers, place.quotes, most)
        self._check()
        if way is None or place.phase != "thinking":
            return way or []
        close = self._table.id_of(CLOSE)
        return [*(self._table.encode(CLOSE) if close is None else [close]), *way]

    def _fill(self, mask: NDArray[Any]) -> bool:
        """Write the mask of this place; whether it leaves one token."""
        table = self._table
        plan = self._plan()
        place = self._places[-1]
        if plan:
            mask[:] = 0
            mask[plan[0] // 32] = 1 << plan[0] % 32
            return True
        if place.phase == "thinking":
            mask[:] = table.thinking(place.tail)
            return False
        if place.phase == "ended" or (place.phase == "body" and self._complete(place)):
            mask[:] = table.end
            return True
        if place.phase == "opening" and place.tail:
            mask[:] = table.mask(table.prefixes(OPEN[len(place.tail) :]))
            return False
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        self._check()
        if self._matcher.is_accepting():
            mask |= table.end
        if self._grammar.source.json and (left := digits_left(place.tail)) < 4:
            shorter = mask & table.digits(left)
            if shorter.any():  # else the schema wants a longer number
                mask[:] = shorter
        if place.phase == "opening":
            mask |= table.opening
        elif place.phase == "leading" and place.blanks < MOST_BLANKS:
            mask |= table.blanks
        return False

    def _complete(self, place: _Place) -> bool:
        """Whether the body can only end here."""
        if place.short:
            return not self._plan() and self._matcher.is_accepting()
        if self.limit - len(self._tokens) <= self._grammar.once_more:
            return self._matcher.is_accepting()  # there is no room for one more
        return self._matcher.is_stopped()

    def _check(self) -> None:
        if not self._matcher.is_error():
            return
        reason = self._matcher.get_error()
        if _INTERRUPTED.match(reason):
            self._torn = True
            raise KeyboardInterrupt
        raise InvalidRequest(f"{self._grammar.source.where}: {reason}")
