"""Texts and queries as words, for the full-text search.

The words themselves are cut, folded and stemmed by SQLite's tokenizer. What it cannot do is done
here, for texts and queries alike: scripts without spaces become pairs of neighbouring characters,
names in camelCase get their parts beside them.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator

WORDS_VERSION = "2"
"""Changes when the same text gives other words."""

LONGEST_QUERY = 1 << 14
"""Characters of a query whose words are looked for."""
MOST_TERMS = 64
"""Different words of a query that are looked for, the first ones."""

# Scripts that are written without spaces, or, as Korean, with endings on every word.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua9e0-\ua9fe\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
_RUN = re.compile(f"[{_UNSPACED}]+")
# Vowel signs of Hebrew and Arabic, which are mostly left out, and a stroke that lengthens words.
_OPTIONAL = re.compile(
    "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670]+"
)
_NO_WORD = re.compile(r"[^\w\s]|_")
_HUMP = re.compile("[a-z][A-Z]")
_CAMEL = re.compile("(?<![A-Za-z0-9])[A-Za-z0-9]*[a-z][A-Z][A-Za-z0-9]*")
_LONGEST_NAME = 64  # characters; longer runs of letters and digits are data
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

# The commonest words of English questions. Those of other languages are names and keywords of some
# program too often ("die", "os", "su"); a search leaves out what most passages of an index have.
_COMMON_WORDS = """\
a about after all also am an and any are as at be been but by can could did do does for from get
had has have he her him his how i if in into is it its just like may me my no not of on one or our
out s she should so some t than that the their them then there these they this to up us was we were
what when where which who why will with would you your"""
_COMMON = frozenset(_COMMON_WORDS.split())


def searchable(text: str) -> str:
    """A text as the tokenizer is to see it."""
    text = _OPTIONAL.sub("", unicodedata.normalize("NFKC", text)).replace("\0", " ")
    if not text.isascii():
        text = _RUN.sub(lambda run: f" {' '.join(_pairs(run[0]))} ", text)
    if _HUMP.search(text) is None:
        return text
    return _CAMEL.sub(_with_parts, text)


def _with_parts(name: re.Match[str]) -> str:
    text = name[0]
    return text if len(text) > _LONGEST_NAME else f"{text} {' '.join(_PART.findall(text))}"


def _pairs(run: str) -> Iterator[str]:
    if len(run) == 1:
        yield run
    for first, second in itertools.pairwise(run):
        yield first + second


def query_terms(query: str) -> tuple[list[str], list[str]]:
    """The different words of a query, without the commonest, and its phrases.

    A phrase is a name of several words with no space between them, as ``os.path.join``.
    """
    words: dict[str, None] = {}
    phrases: dict[str, None] = {}
    if len(query) > LONGEST_QUERY:  # a half of a word would be one that no passage has
        query = query[:LONGEST_QUERY].rpartition(" ")[0] or query[:LONGEST_QUERY]
    for piece in _only_words(searchable(query)).lower().split():
        parts = [part for part in piece.split(".") if part]
        if 1 < len(parts) <= 8 and sum(part not in _COMMON for part in parts) > 1:
            phrases[" ".join(parts)] = None
        for part in parts:
            if part not in _COMMON:
                words[part] = None
    return list(words)[:MOST_TERMS], list(phrases)[: MOST_TERMS // 4]


def _only_words(text: str) -> str:
    """A text with a dot for all that is neither of a word nor a space.

    What is of a word is what the tokenizer takes for it, by the categories of `store.TOKENIZE`.
    """
    if text.isascii():
        return _NO_WORD.sub(".", text)
    return "".join(
        c if c.isalnum() or c.isspace() or unicodedata.category(c) in ("Mn", "Mc") else "."
        for c in text
    )


def quoted(words: str) -> str:
    """Words as a phrase of a full-text query, in which nothing is syntax."""
    return '"' + words.replace('"', " ") + '"'
