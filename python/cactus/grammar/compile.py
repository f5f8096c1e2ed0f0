"""From the text of a grammar to a matcher: compiled within limits, and kept while it is used."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cactus.errors import InvalidRequest
from cactus.grammar.limits import SECONDS
from cactus.grammar.table import Table
from cactus.grammar.underway import UNDERWAY

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from cactus.tokenizer import Tokenizer

KEPT_BYTES = 64 << 20
"""Memory up to which compiled grammars are kept, the last used ones."""

MOST_STATES = 50_000
"""Of a matcher's lexer, one to two kilobytes each."""

LONGEST = 500
"""Characters of the compiler's words at their beginning, and at their end where more follow."""

SPARE = 16
"""Tokens that are kept for the end of an answer, besides those that the way there needs."""


@dataclass(frozen=True, slots=True)
class Source:
    """A grammar as llguidance takes it, from the option `where`. `json`: it describes JSON.

    `parts` are what may begin late in an answer, written in short; `closers` end texts without
    quotes; `wholes` are what may come once more where the answer could end. `unenforced` says what
    was asked for and left out.
    """

    text: str
    where: str
    json: bool = False
    parts: tuple[str, ...] = ()
    closers: tuple[str, ...] = ()
    wholes: tuple[str, ...] = ()
    unenforced: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grammar:
    """A compiled grammar.

    `margin`: so many tokens more than now the way to the end may take behind the next token.
    `once_more`: so many must be left where the answer could end and goes on; 0 where that is free.
    """

    source: Source
    table: Table
    margin: int
    once_more: int
    closers: tuple[list[int], ...]
    matcher: LLMatcher

    def start(self) -> LLMatcher:
        """A matcher that has read nothing yet."""
        return self.matcher.deep_copy()


class Grammars:
    """The grammars of one model. Any thread may ask."""

    def __init__(self, tokenizer: Tokenizer, rows: int) -> None:
        self._tokenizer, self._rows = tokenizer, rows
        self._table: Table | None = None
        self._kept: OrderedDict[Source, Grammar | str] = OrderedDict()
        self._lock = threading.Lock()

    def compile(self, source: Source) -> Grammar:
        """The grammar of `source`.

        Raises InvalidRequest, with the compiler's words, for what is no grammar, cannot be enforced
        or takes too much work; Overloaded while too many of those are under way; UnsupportedModel
        for a vocabulary without bytes.
        """
        table = self.table
        with self._lock:
            found = self._kept.get(source)
        if found is None:
            found = _compiled(table, source)
        with self._lock:
            self._kept[source] = found
            self._kept.move_to_end(source)
            while sum(map(_size, self._kept)) > KEPT_BYTES:
                self._kept.popitem(last=False)
        if isinstance(found, str):
            raise InvalidRequest(found)
        return found

    @property
    def table(self) -> Table:
        """The vocabulary, made when it is first asked for."""
        with self._lock:
            if self._table is None:
                self._table = Table(self._tokenizer, self._rows)
            return self._table


def _size(source: Source) -> int:
    """Bytes that a compiled grammar takes, about: measured on schemas of many sizes."""
    return (128 << 10) + 40 * len(source.text)


def _compiled(table: Table, source: Source) -> Grammar | str:
    """The grammar, or what is wrong with it."""
    key = (table, source.text)
    matcher = UNDERWAY.within(SECONDS, key, lambda: _matcher(table, source.text))
    if matcher is None:
        return (
            f"compiling the grammar takes more than {SECONDS} s of work; ask for something simpler"
        )
    if matcher.is_error():
        error = matcher.get_error().strip()  # with all of an expression that is wrong
        return error if len(error) <= LONGEST else f"{error[:LONGEST]} ... {error[-LONGEST:]}"
    longest, whole = (
        max((len(table.encode(part)) for part in parts), default=0)
        for parts in (source.parts, source.wholes)
    )
    closers = tuple(map(table.encode, source.closers))
    return Grammar(source, table, SPARE + longest, whole and whole + SPARE, closers, matcher)


def _matcher(table: Table, text: str) -> LLMatcher:
    from llguidance import LLMatcher, LLParserLimits

    limits = LLParserLimits(verbose_errors=False, max_lexer_states=MOST_STATES)
    matcher = LLMatcher(table.native, text, log_level=0, limits=limits)
    if not matcher.is_error():
        matcher.compute_bitmask()  # some grammars fail only here
    return matcher
