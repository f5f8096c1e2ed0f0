"""From the text of a grammar to a matcher: compiled within limits, and kept while it is used."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cactus.errors import InvalidRequest
from cactus.grammar.limits import SECONDS, compiler_limits, in_words
from cactus.grammar.table import Table
from cactus.grammar.underway import UNDERWAY

if TYPE_CHECKING:
    from llguidance import LLMatcher

    from cactus.tokenizer import Tokenizer

KEPT_BYTES = 64 << 20
"""Memory up to which compiled grammars are kept, the last used ones; the last one in any case."""

BYTES_A_SECOND = 256 << 20
"""Of a compiled grammar, for the processor time that it took: no matcher says its size, and a short
text can make one of 40 MB."""

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
    `seconds` of a processor were needed to compile it.
    """

    source: Source
    table: Table
    margin: int
    once_more: int
    closers: tuple[list[int], ...]
    matcher: LLMatcher
    seconds: float = 0.0

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

    def __contains__(self, source: Source) -> bool:
        """Whether what came of `source` is kept."""
        with self._lock:
            return source in self._kept

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
            while len(self._kept) > 1 and self._bytes() > KEPT_BYTES:
                self._kept.popitem(last=False)
        if isinstance(found, str):
            raise InvalidRequest(found)
        return found

    def _bytes(self) -> int:
        return sum(_size(*each) for each in self._kept.items())

    @property
    def table(self) -> Table:
        """The vocabulary, made when it is first asked for."""
        with self._lock:
            if self._table is None:
                self._table = Table(self._tokenizer, self._rows)
            return self._table


def _size(source: Source, found: Grammar | str) -> int:
    """Bytes that a compiled grammar takes, about: measured on schemas of many sizes."""
    seconds = 0.0 if isinstance(found, str) else max(0.0, found.seconds - 0.01)
    return (128 << 10) + 40 * len(source.text) + int(seconds * BYTES_A_SECOND)


def _compiled(table: Table, source: Source) -> Grammar | str:
    """The grammar, or what is wrong with it."""
    key = (table, source.text)
    made = UNDERWAY.within(SECONDS, key, lambda: _matcher(table, source.text))
    if made is None:
        return (
            f"compiling the grammar takes more than {SECONDS} s of work; ask for something simpler"
        )
    matcher, seconds = made
    if matcher.is_error():
        error = in_words(matcher.get_error().strip())  # with all of an expression that is wrong
        return error if len(error) <= LONGEST else f"{error[:LONGEST]} ... {error[-LONGEST:]}"
    longest, whole = (
        max((len(table.encode(part)) for part in parts), default=0)
        for parts in (source.parts, source.wholes)
    )
    closers = tuple(map(table.encode, source.closers))
    return Grammar(
        source, table, SPARE + longest, whole and whole + SPARE, closers, matcher, seconds
    )


def _matcher(table: Table, text: str) -> tuple[LLMatcher, float]:
    """The matcher, which may be an error, and the seconds of this thread that it took."""
    from llguidance import LLMatcher

    began = time.thread_time()
    matcher = LLMatcher(table.native, text, log_level=0, limits=compiler_limits())
    if not matcher.is_error():
        matcher.compute_bitmask()  # some grammars fail only here
        for token in matcher.compute_ff_tokens()[:1]:  # or where a text that is forced goes on
            trial = matcher.deep_copy()
            if not trial.consume_token(token):
                return trial, 0.0
    return matcher, time.thread_time() - began
