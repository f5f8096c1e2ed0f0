"""Traced strings are the strings they are, and their spans follow their characters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cactus.chat.traced import Part, Traced, join, parts_of, trusted

LETTERS = st.text(" ab\n<", max_size=6)
PARTS = st.lists(st.tuples(LETTERS, st.booleans()), max_size=5)


def build(parts: list[tuple[str, bool]]) -> str:
    return join([trusted(text) if special else text for text, special in parts])


def authors(text: str) -> list[tuple[str, bool]]:
    return [(letter, part.special) for part in parts_of(text) for letter in part.text]


@given(PARTS)
def test_parts_are_the_string_cut_where_the_author_changes(parts: list[tuple[str, bool]]) -> None:
    text = build(parts)
    assert authors(text) == [(letter, special) for text, special in parts for letter in text]
    flags = [part.special for part in parts_of(text)]
    assert flags == [flag for i, flag in enumerate(flags) if i == 0 or flags[i - 1] != flag]
    assert all(part.text and type(part.text) is str for part in parts_of(text))


@given(PARTS, st.integers(-8, 8) | st.none(), st.integers(-8, 8) | st.none())
def test_slices(parts: list[tuple[str, bool]], start: int | None, stop: int | None) -> None:
    text = build(parts)
    plain = "".join(text for text, _ in parts)
    assert text[start:stop] == plain[start:stop]
    assert authors(text[start:stop]) == authors(text)[start:stop]
    assert text[start:stop:-1] == plain[start:stop:-1]
    assert not any(special for _, special in authors(text[::-1]))


@given(PARTS, st.sampled_from([None, " ", "a", "\n a", "<"]))
def test_strips(parts: list[tuple[str, bool]], chars: str | None) -> None:
    text = build(parts)
    plain = "".join(text for text, _ in parts)
    for name in ("strip", "lstrip", "rstrip"):
        stripped = getattr(text, name)(chars)
        assert stripped == getattr(plain, name)(chars)
        start = len(plain) - len(plain.lstrip(chars)) if name != "rstrip" else 0
        assert authors(stripped) == authors(text)[start : start + len(stripped)]


@given(st.lists(PARTS, max_size=3), PARTS)
def test_join(several: list[list[tuple[str, bool]]], separator: list[tuple[str, bool]]) -> None:
    texts = [build(parts) for parts in several]
    between = build(separator)
    joined = join(texts, between)
    assert joined == str.join(between, texts)
    expected: list[tuple[str, bool]] = []
    for number, text in enumerate(texts):
        expected += authors(between) if number else []
        expected += authors(text)
    assert authors(joined) == expected


def test_whatever_else_makes_a_plain_string() -> None:
    text = trusted("<|a|>")
    for made in (
        text.upper(),
        text + "x",
        "x" + text,
        f"{text}!",
        text * 2,
        text.replace("a", "b"),
    ):
        assert parts_of(made) == [Part(made, False)]
    assert type(str(text)) is Traced
    assert trusted("").spans == ()
    assert parts_of("") == []
    assert {trusted("key"): 1}["key"] == 1
