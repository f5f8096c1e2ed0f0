"""Where sentences and paragraphs begin, in most scripts, in time that grows with the text."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cactus.documents.words import words

# It begins with a set of characters, which the search skips to; and at one place only of each run
# of marks or newlines, so that no run is scanned twice.
_ENDS = re.compile(
    r"""
    [\n.!?…؟۔։。！？｡．।॥።။៕]
    (?: (?<=\n) (?P<paragraph> [ \t\r\f\v]* \n \s* )
      | (?<=\n) [ \t]* (?= (?: [-*+•‣◦·] | \#?\d{1,3}[.)] | \(?[a-z][.)] ) [ \t] )  # an item
      | (?<=[.!?…؟۔։]) (?<![.!?…؟۔։].) [.!?…؟۔։]* ["'”’»)\]}*_`]* (?P<space> \s+ ) (?=\S)
      | (?<=[。！？｡．]) [。！？｡．]* [」』”’》〉）】\])"']* \s*  # these need no space behind them
      | (?<=[।॥።။៕]) [।॥።။៕]* \s*
    )
    """,
    re.VERBOSE,
)

_ABBREVIATIONS = words(
    "adm al approx art bzw ca cf capt col corp d.h dept dr e.g ed eds eq etc ev evtl ex fig "
    "gen ggf gov hon i.e inc incl jr lt ltd m.a max me min mlle mm mme mr mrs ms mt no nr num "
    "op orig p pp ph.d prof ref rev resp sec sen sgt sr sra st str tab tel u.a u.s u.s.w usw "
    "vgl vol vs z.b zzgl г гг др им напр рис см стр тыс ул"
)


def sentence_starts(text: str, start: int, end: int) -> Iterator[tuple[int, bool]]:
    """Where sentences begin inside of `text[start:end]`, and whether a paragraph begins there."""
    for match in _ENDS.finditer(text, start, end):
        at = match.end()
        if at >= end:
            break
        if match["space"] is not None and not _ends_sentence(text, match.start(), at):
            if "\n" in match["space"] and _has_empty_line(match["space"]):
                yield at, True  # a paragraph ends even where a sentence does not
            continue
        paragraph = match["paragraph"] is not None or (
            match["space"] is not None and _has_empty_line(match["space"])
        )
        yield at, paragraph


def _has_empty_line(space: str) -> bool:
    return space.count("\n") > 1


def _ends_sentence(text: str, mark: int, after: int) -> bool:
    """Whether the run of marks at `mark` ends a sentence, the next of which begins at `after`."""
    following = text[after]
    if following.islower():
        return False
    if text[mark] != "." or text.startswith("..", mark):
        return True
    word = text[max(0, mark - 12) : mark].rsplit(None, 1)
    if not word:
        return True
    last = word[-1].lstrip("([{\"'“‘«*_`")
    if len(last) == 1 and last.isalpha() and last.isupper():
        return False  # an initial
    return last.lower() not in _ABBREVIATIONS and not (
        last.isdecimal() and len(last) < 3 and text[mark - len(last) - 1 : mark - len(last)] in "\n"
    )  # the number of an item
