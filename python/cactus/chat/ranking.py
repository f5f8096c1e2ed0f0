"""Short texts ranked against a question, without a model: BM25 over stems and parts of words.

`synonyms.txt` says what people call things that tools have other words for.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

SATURATION = 1.2  # BM25's k1: what a word counts that comes again
LENGTH = 0.2  # BM25's b: what a text's length counts
PART = 4  # characters of a part of a word
PARTS = 0.15  # what all parts of a word count, of the word
MEANT = 0.5  # what a word counts that may be meant by one that was said
MOST = 1.2  # what a word counts at most, however often it is said and meant

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+")
_SHORTENED = re.compile(r"['’](s|re|m|ll|ve|d|t)\b")
_COMMON_WORDS = """\
a about after all am an and any are as at be been by can could did do does for from get had has have
he her him his how i if in into is it its let like me my of off on or our out over please set she
should so some than that the their them then there these they this to up us use used was we were
what when where which who why will with would you your"""
_COMMON = frozenset(_COMMON_WORDS.split())
_ENDINGS = (("ing", "", 3), ("ies", "y", 3), ("ed", "", 3), ("es", "", 3), ("s", "", 3))


def words(text: str) -> Iterator[str]:
    """The words of a text or of names (camelCase, snake_case), small and without accents.

    The commonest English ones are left out.
    """
    letters = unicodedata.normalize("NFKD", _SHORTENED.sub("", text))
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    for match in _WORD.finditer(plain):
        word = match[0].lower()
        if word not in _COMMON:
            yield word


def stem(word: str) -> str:
    """An English word without its ending; other languages lose little by it."""
    for ending, instead, least in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= least and word[-2:] != "ss":
            word = word[: -len(ending)] + instead
            if ending in ("ing", "ed") and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word.removesuffix("e") if len(word) > 3 else word


@cache
def _meant() -> dict[str, list[str]]:
    """For the stem of a word that people use, those of the words that tools use for it."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in Path(__file__).with_name("synonyms.txt").read_text("utf-8").splitlines():
        meant, colon, said = line.partition(":")
        for word in said.split() if colon and not line.startswith("#") else ():
            found[stem(word)].append(stem(meant))
    return found


def question_features(text: str) -> dict[str, float]:
    """`features` of a question, with what its words may mean: the surer, the more say it."""
    found = features(text)
    for word in list(found):
        meanings = _meant().get(word, ())
        for meant in meanings:
            more = MEANT / math.sqrt(len(meanings))
            found[meant] = min(found.get(meant, 0.0) + more, MOST)
    return found


def features(text: str) -> dict[str, float]:
    """What of a text is compared, and how much each counts: stems, and parts of words ("#part")."""
    found: dict[str, float] = defaultdict(float)
    for word in words(text):
        root = stem(word)
        found[root] += 1
        parts = [root[n : n + PART] for n in range(len(root) - PART + 1)]
        for part in parts:
            found[f"#{part}"] += PARTS / len(parts)
    return found


class Ranking:
    """Texts to be ranked. Each has fields: a text, and what a word of it counts."""

    def __init__(self, texts: Sequence[Sequence[tuple[str, float]]]) -> None:
        weights: list[dict[str, float]] = []
        for fields in texts:
            of_text: dict[str, float] = defaultdict(float)
            for text, weight in fields:
                for feature, count in features(text).items():
                    of_text[feature] += weight * count
            weights.append(of_text)
        lengths = [sum(of_text.values()) for of_text in weights]
        average = sum(lengths) / max(1, len(lengths)) or 1.0
        self._count = len(texts)
        self._where: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for number, of_text in enumerate(weights):
            norm = 1 - LENGTH + LENGTH * lengths[number] / average
            for feature, weight in of_text.items():
                value = weight * (SATURATION + 1) / (weight + SATURATION * norm)
                self._where[feature].append((number, value))

    def scores(self, question: Mapping[str, float]) -> list[float]:
        """How well each text fits `question`: features and what each counts."""
        found = [0.0] * self._count
        for feature, wanted in question.items():
            places = self._where.get(feature, ())
            rare = math.log(1 + (self._count - len(places) + 0.5) / (len(places) + 0.5))
            for number, value in places:
                found[number] += wanted * rare * value
        return found
