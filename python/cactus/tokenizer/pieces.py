"""Long texts in pieces, so that their tokens take little memory, and are the same.

What the library notes of each token takes hundreds of bytes. A text is cut only where that changes
nothing. How a text splits into words is decided from left to right by the kinds of the characters
near, so the cuts lie where no word can reach across, or within a run of one kind, where what is
left of a word is a word. Within a word neighbours are merged: the tokens of two parts are those of
the whole if the two that meet would not be merged otherwise, and that is tried.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from unicodedata import category

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

PIECE = 1 << 16
"""Characters that are encoded at once, as far as there are places to cut."""

NEAR = 3 << 8
"""Characters on each side of a cut that are encoded to see whether it changes anything. In runs of
one character, tokens are often of three or a power of two."""

AGREED = 8
"""Tokens on each side of a cut that must be the same in their piece as they were when tried."""

TRIED = 8
"""Places of each kind that are tried in a piece."""

WHOLE = 3
"""Pieces of a size that are encoded and whose end may turn out to be wrong: so the work stays in
proportion to the text."""

_BETWEEN_WORDS = re.compile(r"(?<=[^\W_]) (?=[^\W\d_])")
_WITHIN_LETTERS = re.compile(r"(?<=[^\W\d_]{2})(?=[^\W\d_]{2})")
_WITHIN_SIGNS = re.compile(r"(?<=[^\w\s]{2}|__)(?=[^\w\s]{2}|__)")
_WITHIN_DIGITS = re.compile(r"(?<=[0-9]{2})(?=[0-9]{2})")
_BEHIND_LINES = re.compile(r"(?<=\s[\r\n])(?=\s\s)")
_WITHIN_SPACES = re.compile(r"(?<=\s\s)(?=\s\s)")

_CAPITALS = "Lu", "Lt"
_CASELESS = "Lo", "Lm", "Mn", "Mc", "Me"

_Tokens = list[tuple[int, bool]]
"""Ids, and whether a word begins with the token."""


class Pieces:
    """How long texts are cut for one tokenizer."""

    def __init__(self, backend: Backend) -> None:
        from tokenizers.models import BPE

        self._normalizer, self._words = backend.normalizer, backend.pre_tokenizer
        self._merges = isinstance(backend.model, BPE)
        if self._merges:
            self._kinds = [_BETWEEN_WORDS, _WITHIN_LETTERS, _WITHIN_SIGNS]
            if self._normal(" a ") == " a ":  # else what begins or ends in spaces loses them
                self._kinds += [_BEHIND_LINES, _WITHIN_SPACES]
            if self._split("0" * 8)[0] != "00":  # threes from the end depend on what follows
                self._kinds.append(_WITHIN_DIGITS)
        elif len(self._split("a b")) > 1:
            self._kinds = [_BETWEEN_WORDS, _WITHIN_LETTERS, _WITHIN_SIGNS]
        else:
            self._kinds = []

    def ids(
        self, text: str, run: Callable[[str], Any], read: Callable[[str, Any], list[int]]
    ) -> list[int]:
        """The ids of a text: what `read` takes from a text and what `run` gives for it.

        `run` gives the library's encoding.
        """
        ids: list[int] = []
        same: dict[int, int] = {}  # one object for each id, not for each token
        start, size, expected = 0, PIECE, _Tokens()
        while start < len(text):
            cut, encoding, following = self._cut(text, start, size, run)
            if encoding is None:
                size *= 2
                continue
            if expected != _tokens(encoding, 0, len(expected)):  # the cut before was wrong
                return read(text, run(text))
            ids += [same.setdefault(id, id) for id in read(text[start:cut], encoding)]
            start, size, expected = cut, PIECE, following
        return ids

    def _cut(
        self, text: str, start: int, size: int, run: Callable[[str], Any]
    ) -> tuple[int, Any, _Tokens]:
        """Where the piece from `start` ends, its encoding, and the tokens that must follow it.

        The encoding is None where there is no place to cut.
        """
        if len(text) - start <= size:
            return len(text), run(text[start:]), _Tokens()
        left = WHOLE
        for kind, cut in self._places(text, start, size):
            before, behind = text[max(start, cut - NEAR) : cut], text[cut : cut + NEAR]
            tail, head = _tokens(run(before)), _tokens(run(behind))
            both = _tokens(run(before + behind))
            if len(both) > len(tail) and kind is not _WITHIN_DIGITS:  # a word may go on there
                both[len(tail)] = both[len(tail)][0], True
            if both == tail + head:
                encoding = run(text[start:cut])
                if _tokens(encoding, -AGREED) == tail[-AGREED:]:
                    return cut, encoding, head[:AGREED]
                left -= 1
                if not left:
                    break
        return start, None, _Tokens()

    def _places(self, text: str, start: int, size: int) -> Iterator[tuple[re.Pattern[str], int]]:
        """Where a piece from `start` may end: of each kind some, from the last to the middle."""
        step = size // (2 * TRIED)
        for kind in self._kinds:
            for n in range(TRIED):
                offset = size - (n + 1) * step
                at = start + offset - offset % NEAR + n
                found = kind.search(text, at, start + offset + step)
                if found is not None and self._may_end(kind, text, start, found.start()):
                    yield kind, found.start()

    def _may_end(self, kind: re.Pattern[str], text: str, start: int, cut: int) -> bool:
        """Whether a piece may end there, by what the expression of the kind does not say."""
        if kind in (_BEHIND_LINES, _WITHIN_SPACES):
            # Some words end behind the last of several line ends, and signs have those behind them.
            before = text[start:cut].rstrip()
            run = text[start + len(before) : cut + 2]
            alike = run == run[0] * len(run)
            if kind is _BEHIND_LINES:
                # Spaces are of one word with a line end before them if there is one behind them.
                behind = text[cut : cut + NEAR]
                alike = not behind.isspace() or "\n" in behind or "\r" in behind
            return alike and (not before or before[-1].isalnum())
        near = text[cut - 2 : cut + 2]
        if kind is _WITHIN_LETTERS and not near.isalpha():  # Roman numerals, which are numbers
            return False
        if kind is _WITHIN_LETTERS and self._may_go_on(text, start, cut):
            return False
        if any(category(each)[0] == "M" for each in near):  # joined to what is before
            return False
        return self._merges or kind is _BETWEEN_WORDS or len(self._split(near[1:3])) > 1

    def _may_go_on(self, text: str, start: int, cut: int) -> bool:
        """Whether capitals on both sides of a cut may be of the word before them.

        Some expressions join them to letters without case if a small letter is behind the capitals,
        however many these are.
        """
        if any(category(each) not in _CAPITALS for each in text[cut : cut + NEAR]):
            return False
        first = cut
        while first > start and category(text[first - 1]) in _CAPITALS:
            first -= 1
        return first > start and category(text[first - 1]) in _CASELESS

    def _split(self, text: str) -> list[str]:
        """The words of a text."""
        if self._words is None:
            return [text]
        return [word for word, _ in self._words.pre_tokenize_str(self._normal(text))]

    def _normal(self, text: str) -> str:
        return text if self._normalizer is None else str(self._normalizer.normalize_str(text))


def _tokens(encoding: Any, first: int | None = None, last: int | None = None) -> _Tokens:
    ids, words = encoding.ids, encoding.word_ids
    places = range(len(ids))[first:last]
    return [(ids[n], n == 0 or words[n] != words[n - 1]) for n in places]
