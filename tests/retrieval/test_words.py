"""Texts and queries as words."""

from __future__ import annotations

import sqlite3

import pytest

from cactus.retrieval.store import TOKENIZE
from cactus.retrieval.words import LONGEST_QUERY, MOST_TERMS, query_terms, quoted, searchable


@pytest.fixture
def found():  # type: ignore[no-untyped-def]
    """Whether a query's words, or one of its phrases, are in a text."""
    db = sqlite3.connect(":memory:")
    db.execute(f"CREATE VIRTUAL TABLE words USING fts5(text, tokenize='{TOKENIZE}')")

    def found(query: str, text: str) -> bool:
        db.execute("DELETE FROM words")
        db.execute("INSERT INTO words VALUES (?)", (searchable(text),))
        terms, phrases = query_terms(query)
        wanted = " OR ".join(map(quoted, [*terms, *phrases]))
        return bool(db.execute("SELECT 1 FROM words WHERE words MATCH ?", (wanted,)).fetchall())

    yield found
    db.close()


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("os.path.join", "Call os.path.join(a, b)."),
        ("path join", "os.path.join"),
        ("snake_case", "a snake_case_name"),
        ("parseJson", "the function parseJson()"),
        ("json", "the function parseJson()"),
        ("HTTP response", "getHTTPResponse"),
        ("首都", "東京都は日本の首都です"),
        ("京", "京"),
        ("한국", "한국어로"),
        ("กรุงเทพ", "กรุงเทพมหานคร"),
        ("cafe", "Le café"),
        ("cafe\u0301", "LE CAFÉ"),
        ("ｆｕｌｌ", "full"),
        ("हिन्दी", "यह हिन्दी है"),
        ("مكتب", "المكتب مَكْتَب"),
        ("iterating", "we iterate over it"),
        ("C++ cout", "std::cout"),
    ],
)
def test_what_people_write_is_found(found, query: str, text: str) -> None:  # type: ignore[no-untyped-def]
    assert found(query, text)


@pytest.mark.parametrize(
    ("query", "text"), [("都東", "東京都"), ("path", "pathology"), ("हिन", "हिन्दी")]
)
def test_parts_that_are_no_words_are_not(found, query: str, text: str) -> None:  # type: ignore[no-untyped-def]
    assert not found(query, text)


@pytest.mark.fault("F74")
def test_the_commonest_words_are_left_out_and_names_become_phrases() -> None:
    assert query_terms("How do I use os.path.join() in a well-known way?") == (
        ["use", "os", "path", "join", "well", "known", "way"],
        ["os path join", "well known"],
    )
    assert query_terms("what is it") == ([], [])
    assert query_terms("to-do or not") == ([], [])


def test_a_query_that_is_cut_ends_with_a_whole_word() -> None:
    assert query_terms("walrus " * LONGEST_QUERY) == (["walrus"], [])


@pytest.mark.fault("F74")
@pytest.mark.parametrize("query", ['"', "AND NEAR( OR", "a* ^b {c}:", "-- ; DROP", "\0", "col:x"])
def test_nothing_in_a_query_is_syntax(found, query: str) -> None:  # type: ignore[no-untyped-def]
    terms, phrases = query_terms(query)
    if terms or phrases:
        assert found(query, " ".join(terms))


@pytest.mark.fault("F74")
@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["x", "x ", "aB", "東", "a_b", "(", "aB_", "\u0301", "."])
def test_a_megabyte_takes_linear_time(text: str) -> None:
    text *= 1_000_000 // len(text)
    searchable(text)
    terms, phrases = query_terms(text)
    assert len(terms) <= MOST_TERMS and all(len(term) <= LONGEST_QUERY for term in terms)
    assert len(phrases) <= MOST_TERMS
