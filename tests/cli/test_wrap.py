"""Words at the edge of a terminal, as a real terminal would show what is written to it."""

from __future__ import annotations

import random
import textwrap

import pyte
import pytest

from cactus.cli.wrap import WordWrap

WORDS = ["a", "bc", "def", "ghij", "klmno", "pqrstu", "vwxyzab", "mit-Strich", "ein", "grün"]


def shown(text: str, columns: int, pieces: random.Random) -> list[str]:
    """The rows of a terminal after `text` has come in pieces of a few characters."""
    screen = pyte.Screen(columns, 200)
    stream, wrap = pyte.Stream(screen), WordWrap(lambda: columns)
    while text:
        size = pieces.randint(1, 9)
        stream.feed(wrap.feed(text[:size]).replace("\n", "\r\n"))
        text = text[size:]
    rows = [row.rstrip() for row in screen.display]
    while rows and not rows[-1]:
        rows.pop()
    return rows


@pytest.mark.parametrize("columns", [12, 20, 38, 80])
def test_words_are_kept_whole_however_they_come(columns: int) -> None:
    source = random.Random(columns)
    for _ in range(20):
        paragraphs = [" ".join(source.choices(WORDS, k=source.randint(1, 60))) for _ in range(3)]
        expected: list[str] = []
        for paragraph in paragraphs:
            expected += textwrap.wrap(paragraph, columns - 1, break_on_hyphens=False)
        assert shown("\n".join(paragraphs), columns, source) == expected


def test_wide_characters_are_broken_anywhere_and_counted_twice() -> None:
    rows = shown("仙人掌は乾燥した土地に生える植物です。" * 3, 20, random.Random(1))
    assert (
        "".join(row.replace(" ", "") for row in rows)
        == "仙人掌は乾燥した土地に生える植物です。" * 3
    )
    assert all(len(row) <= 19 for row in rows) and len(rows) == 7
    rows = shown("a" * 19 + "仙人掌", 20, random.Random(1))
    assert "".join(row.replace(" ", "") for row in rows) == "a" * 19 + "仙人掌"


def test_a_word_longer_than_the_row_loses_nothing() -> None:
    link = "https://example.org/" + "a-very-long-path/" * 5
    for columns in (29, 30, 31, 35, 53):
        rows = shown(f"see {link} there and then\nand so on", columns, random.Random(2))
        assert rows[0] == "see" and " ".join("".join(rows[1:]).split()).startswith(link)
        assert "there and then" in " ".join(rows[1:]) and rows[-1] == "and so on"
        # One piece for whoever copies it: the rows are full, the terminal broke it.
        assert "\n" not in WordWrap(lambda: 30).feed(link)


def test_code_between_fences_is_left_as_it_is() -> None:
    line = "    result = function(argument, another_argument)  # why"
    text = f"```python\n{line}\n```\nand some more words after it"
    wrap = WordWrap(lambda: 20)
    assert wrap.feed(text).startswith(f"```python\n{line}\n```\n")
    assert shown(text, 20, random.Random(3))[-2:] == ["and some more words", "after it"]


def test_line_breaks_and_indents_of_the_text_stay() -> None:
    text = "1. one two three four\n   five\n\n\nsix"
    assert shown(text, 16, random.Random(4)) == [
        "1. one two",
        "three four",
        "   five",
        "",
        "",
        "six",
    ]


def test_the_width_of_the_terminal_may_change() -> None:
    columns = 40
    wrap = WordWrap(lambda: columns)
    assert "\n" not in wrap.feed("one two three four ")
    columns = 24
    assert "\n" in wrap.feed("five six")
