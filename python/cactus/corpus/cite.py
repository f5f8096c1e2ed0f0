"""Which passage supports which sentence of an answer: checked by what both of them say.

A number that the model writes counts only if there is such a passage, and it says most of the
sentence, too. Where none is left, the passage that says nearly all of the sentence is named.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cactus.corpus.overlap import Overlap, Span, sentences, terms
from cactus.inputs.text import one_line
from cactus.passages import Citation, Passage

WRITTEN = 0.35
"""The support that a passage must give to a sentence which names it."""
FOUND = 0.6
"""The support from which a passage is named for a sentence that names none."""
QUESTION = 0.3
"""What the words of the question count when the quoted sentence is chosen: short answers repeat
none of them."""

# Not right behind a word: that is an element of an array.
_MARK = re.compile(
    r"(?<![\w$@)])[\[【]\s*(?:(?:passage|source)s?\s*)?\^?(\d{1,4}(?:\s*[,;–-]\s*\d{1,4})*)\s*[\]】]",
    re.I,
)
_LEADING = re.compile(rf"(?:\s*{_MARK.pattern})+[.,;]?", re.I)


SAYS_NOTHING = re.compile(r"^\W*(?:\d+\W+)?the documents do not say\W*$", re.I)
"""An answer that is none: there is nothing to be cited."""


def cite(
    answer: str, passages: Sequence[Passage], question: str = ""
) -> tuple[tuple[Citation, ...], tuple[str, ...]]:
    """The citations of an answer, in the order of its sentences, and notes on those dropped."""
    if not passages:
        return (), _unknown(answer)
    if SAYS_NOTHING.search(answer):
        return (), ()
    cited: list[Citation] = []
    notes: list[str] = []
    overlap = Overlap([passage.text for passage in passages])
    asked = terms(question)
    places = {passage.number: index for index, passage in enumerate(passages)}
    for span, written in _sentences(answer):
        sentence = answer[span[0] : span[1]]
        wanted = terms(_MARK.sub(" ", sentence))
        kept: list[tuple[int, float, bool]] = []
        for number in written:
            if number not in places:
                notes.append(f"[{number}] is not the number of a passage")
                continue
            support = overlap.support(wanted, places[number])
            if support >= WRITTEN:
                kept.append((places[number], support, True))
            else:
                notes.append(
                    f"[{number}] does not say what it is cited for: {one_line(sentence, 80)}"
                )
        if not kept and wanted:
            best = max(range(len(passages)), key=lambda n: (overlap.support(wanted, n), -n))
            support = overlap.support(wanted, best)
            if support >= FOUND:
                kept.append((best, support, False))
        for index, support, by_model in kept:
            passage = passages[index]
            start, end = _quote(passage.text, wanted, asked)
            cited.append(
                Citation(
                    number=passage.number,
                    source=passage.source,
                    start=passage.start + start,
                    end=passage.start + end,
                    text=passage.text[start:end],
                    answer_start=span[0],
                    answer_end=span[1],
                    heading=passage.heading,
                    line=_line(passage, start),
                    page=passage.page,
                    time=passage.time,
                    written=by_model,
                    support=round(support, 4),
                )
            )
    return tuple(cited), tuple(dict.fromkeys(notes))


def _sentences(answer: str) -> list[tuple[Span, list[int]]]:
    """The sentences of an answer with the numbers written in or right behind them."""
    found: list[tuple[Span, list[int]]] = []
    for start, end in sentences(answer):
        leading = _LEADING.match(answer, start, end)
        if leading is not None and found and "\n" not in answer[found[-1][0][1] : start]:
            found[-1][1].extend(_numbers(leading[0]))
            start = leading.end()
            start += len(answer[start:end]) - len(answer[start:end].lstrip())
        if start < end:
            found.append(((start, end), _numbers(answer[start:end])))
    return found


def _numbers(text: str) -> list[int]:
    found: list[int] = []
    for match in _MARK.finditer(text):
        found += [int(number) for number in re.findall(r"\d+", match[1])]
    return list(dict.fromkeys(found))


def _unknown(answer: str) -> tuple[str, ...]:
    return tuple(f"[{number}] is not the number of a passage" for number in _numbers(answer))


def _quote(text: str, wanted: set[str], asked: set[str]) -> Span:
    """The sentence of a passage that says most of what is wanted; it counts what was asked, too."""
    spans = sentences(text) or [(0, len(text))]
    overlap = Overlap([text[start:end] for start, end in spans])

    def worth(index: int) -> tuple[float, int]:
        return overlap.support(wanted, index) + QUESTION * overlap.support(asked, index), -index

    return spans[max(range(len(spans)), key=worth)]


def _line(passage: Passage, start: int) -> int | None:
    if passage.line is None:
        return None
    return passage.line + passage.text.count("\n", 0, start)
