"""Lists of chunks made into one: the best of two rankings, without nearly the same text twice."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from heapq import nsmallest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WIDEST_GAP = 64 << 20
"""Characters between two pieces of a document, at most."""

_DAMPING = 60
"""Reciprocal rank fusion's constant: how little the first places count more than the next."""

_SKETCH = 8  # sequences by which texts that may be alike are found
_ALIKE = 0.9  # of the sequences

_WORD = re.compile(r"\w+")


def fuse(rankings: Sequence[Sequence[int]]) -> list[int]:
    """Chunks by the sum of their reciprocal ranks, the best first; ties by number."""
    sums: dict[int, float] = {}
    for ranking in rankings:
        for rank, chunk in enumerate(ranking, 1):
            sums[chunk] = sums.get(chunk, 0.0) + 1 / (_DAMPING + rank)
    return sorted(sums, key=lambda chunk: (-sums[chunk], chunk))


def largest(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """The places of the largest values, the largest first; of equal ones the first places.

    Minus infinity is never among them.
    """
    import numpy as np

    least = np.float32(-np.inf)
    if 0 < count < len(values):
        least = np.partition(values, len(values) - count)[len(values) - count]
    places = np.flatnonzero(values >= least if least > -np.inf else values > least)
    order: NDArray[np.int64] = places[np.lexsort((places, -values[places]))]
    return order[:count]


class Distinct:
    """Texts that are seen one after the other, of which some are nearly the same.

    Two are when nine tenths of their sequences of three words are in both, and the words with
    digits are the same: versions of a table are not one.
    """

    def __init__(self) -> None:
        self._seen: list[tuple[set[tuple[str, ...]], set[str]]] = []
        self._where: dict[tuple[str, ...], list[int]] = {}

    def add(self, text: str) -> int | None:
        """The number of an earlier text that this one nearly is; None counts it as a new one."""
        words = _WORD.findall(text.lower())
        shingles: set[tuple[str, ...]] = set(zip(words, words[1:], words[2:], strict=False)) or {
            tuple(words)
        }
        numbers: set[str] = {word for word in words if not word.isalpha()}
        sketch = nsmallest(_SKETCH, shingles)
        for number in sorted({n for part in sketch for n in self._where.get(part, ())}):
            others, same = self._seen[number]
            if same == numbers and len(shingles & others) >= _ALIKE * len(shingles | others):
                return number
        for part in sketch:
            self._where.setdefault(part, []).append(len(self._seen))
        self._seen.append((shingles, numbers))
        return None


def joined(parts: Sequence[tuple[int, int, str]]) -> tuple[int, int, str]:
    """Neighbouring pieces (start, end, text) of a document as one.

    What is between two is spaces in the document; there are as many here. Raises ValueError where
    that is more than `WIDEST_GAP`.
    """
    start, end, text = parts[0]
    for first, last, piece in parts[1:]:
        if last <= end:
            continue
        if first - end > WIDEST_GAP:
            raise ValueError("two pieces of a document are too far from each other")
        text += ("\n\n" if first - end > 1 else "\n").ljust(first - end) if first > end else ""
        text += piece[max(0, end - first) :]
        end = last
    return start, end, text


def matches(metadata: Mapping[str, str], wanted: Mapping[str, object]) -> bool:
    """Whether metadata has each wanted value, or one of several."""
    for key, value in wanted.items():
        values = [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]
        if metadata.get(key) not in values:
            return False
    return True
