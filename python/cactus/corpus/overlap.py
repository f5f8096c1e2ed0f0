"""How much of a sentence a passage says, too: by their words, in any language."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from cactus.chat.ranking import stem, words

Span = tuple[int, int]

# What ends a sentence: a mark before a space, one of the wide marks, or a line.
_CODE = re.compile(r"^```.*?(?:^```\s*$|\Z)", re.M | re.S)
_END = re.compile(r"[.!?…]+[\"'”’»)\]*_`]*(?=\s|$)|[。！？]+[”’」』）]*|\n+")
# Written without spaces: two neighbouring characters are what a word is elsewhere.
_DENSE = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]+")
NUMBER = 2.0
"""What a number counts, of a word: it is what must not be wrong."""


def sentences(text: str) -> list[Span]:
    """Where each sentence begins and ends, without the spaces around it; code in a fence is one."""
    found: list[Span] = []
    begin = 0
    fenced = [match.span() for match in _CODE.finditer(text)]
    ends = [match.end() for match in _END.finditer(text)]
    ends = [end for end in ends if not any(start < end < stop for start, stop in fenced)]
    ends += [edge for span in fenced for edge in span]
    for end in sorted({*ends, len(text)}):
        inner = text[begin:end].strip()
        if inner:
            at = text.index(inner, begin)
            found.append((at, at + len(inner)))
        begin = end
    return found


def terms(text: str) -> set[str]:
    """What of a text is compared: stems of its words, and pairs of characters where none end."""
    found = set()
    for word in words(text):
        dense = _DENSE.match(word)
        if dense is None:
            found.add(stem(word))
        else:
            found.update(word[n : n + 2] for n in range(max(1, len(word) - 1)))
    return found


class Overlap:
    """Compares sentences with texts; a term that few of the texts have counts more."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._terms = [terms(text) for text in texts]
        self._count = Counter(term for each in self._terms for term in each)

    def support(self, wanted: Iterable[str], index: int) -> float:
        """The share of the terms `wanted` that the text `index` has, 0 to 1; 0 where none are."""
        has = self._terms[index]
        everything = within = 0.0
        for term in wanted:
            weight = math.log(1 + (1 + len(self._terms)) / max(1, self._count[term]))
            weight *= NUMBER if term.isdecimal() else 1.0
            everything += weight
            within += weight if term in has else 0.0
        return within / everything if everything else 0.0
