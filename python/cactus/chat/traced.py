"""Strings that know which of their characters a chat template wrote itself.

A rendered prompt mixes the template's own characters with those of messages, tools and arguments.
Only the former may become special tokens. Every literal of a template is therefore a ``Traced``
string, and the operations that templates build prompts with (``+``, ``~``, ``join``, ``trim``,
slices, macros, blocks) keep its spans. Any other operation gives a plain string, which counts as
content: to lose track can cost a special token, it can never create one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, SupportsIndex

Spans = tuple[tuple[int, int], ...]


class Part(NamedTuple):
    """A stretch of a rendered prompt; ``special``: all of it was written by the template."""

    text: str
    special: bool


class Traced(str):
    """A string with ``spans``: ascending ranges of the characters that a template wrote."""

    __slots__ = ("spans",)
    spans: Spans

    def __new__(cls, text: str, spans: Spans = ()) -> Traced:
        traced = super().__new__(cls, text)
        traced.spans = spans
        return traced

    def __str__(self) -> str:
        return self

    def __getitem__(self, index: SupportsIndex | slice) -> str:
        text = str.__getitem__(self, index)
        if not isinstance(index, slice) or not self.spans:
            return text
        start, stop, step = index.indices(len(self))
        return self._slice(text, start, stop) if step == 1 else text

    def strip(self, chars: str | None = None, /) -> str:
        left = len(self) - len(str.lstrip(self, chars))
        text = str.strip(self, chars)
        return self._slice(text, left, left + len(text))

    def lstrip(self, chars: str | None = None, /) -> str:
        text = str.lstrip(self, chars)
        return self._slice(text, len(self) - len(text), len(self))

    def rstrip(self, chars: str | None = None, /) -> str:
        text = str.rstrip(self, chars)
        return self._slice(text, 0, len(text))

    def join(self, pieces: Iterable[Any], /) -> str:
        return join(pieces, self)

    def _slice(self, text: str, start: int, stop: int) -> str:
        spans = tuple(
            (max(first, start) - start, min(last, stop) - start)
            for first, last in self.spans
            if first < stop and last > start
        )
        return Traced(text, spans) if spans else text


def trusted(text: str) -> Traced:
    """A string that the template, or the tokenizer's configuration, wrote."""
    return Traced(text, ((0, len(text)),) if text else ())


def join(pieces: Iterable[str], separator: str = "") -> str:
    """What ``separator.join(pieces)`` is, with the spans of all of them."""
    texts = list(pieces)
    whole = str.join(separator, texts)
    if not any(type(text) is Traced for text in texts) and type(separator) is not Traced:
        return whole
    spans: list[tuple[int, int]] = []
    offset = 0
    for number, text in enumerate(texts):
        if number and separator:
            offset = _append(spans, separator, offset)
        offset = _append(spans, text, offset)
    return Traced(whole, tuple(spans))


def _append(spans: list[tuple[int, int]], text: str, offset: int) -> int:
    if type(text) is Traced:
        for first, last in text.spans:
            if spans and spans[-1][1] == first + offset:
                spans[-1] = (spans[-1][0], last + offset)
            else:
                spans.append((first + offset, last + offset))
    return offset + len(text)


def parts_of(text: str) -> list[Part]:
    """The string cut where its author changes; joined, the parts are the string again."""
    parts: list[Part] = []
    done = 0
    plain = str.__str__(text)
    for first, last in text.spans if isinstance(text, Traced) else ():
        if first > done:
            parts.append(Part(plain[done:first], False))
        parts.append(Part(plain[first:last], True))
        done = last
    if done < len(plain):
        parts.append(Part(plain[done:], False))
    return parts
