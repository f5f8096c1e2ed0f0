"""Which passage supports which sentence, and what becomes of numbers that are made up."""

from __future__ import annotations

import pytest

from cactus.corpus.cite import cite
from cactus.corpus.overlap import sentences
from cactus.passages import Passage

GUIDE = (
    "Cactus is installed with one script. Run `source ./setup` in the checkout.\n"
    "It needs Python 3.10 or newer and 200 MB of disk."
)
HISTORY = "The first release came in March 2024. Version 2 followed in November 2025."
PASSAGES = [
    Passage(1, GUIDE, "guide.md", 100, 100 + len(GUIDE), "Setup", line=12),
    Passage(2, HISTORY, "history.pdf", 0, len(HISTORY), page=3),
]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("It has 3.14 in it. Yes.", ["It has 3.14 in it.", "Yes."]),
        ("他住在北京。她住在上海！", ["他住在北京。", "她住在上海！"]),
        ("- one\n- two\n", ["- one", "- two"]),
        ('He said "no." Then he left', ['He said "no."', "Then he left"]),
        (" \n ", []),
        ("same. same.", ["same.", "same."]),
    ],
)
def test_sentences_are_found_where_they_stand(text: str, parts: list[str]) -> None:
    spans = sentences(text)
    assert [text[start:end] for start, end in spans] == parts
    assert spans == sorted(set(spans))


def test_a_number_that_the_model_writes_is_kept_where_the_passage_supports_it() -> None:
    answer = "The first release came in March 2024 [2]."
    (found,), notes = cite(answer, PASSAGES)
    assert (found.number, found.source, found.page, found.written) == (2, "history.pdf", 3, True)
    assert found.text == "The first release came in March 2024."
    assert HISTORY[found.start : found.end] == found.text
    assert answer[found.answer_start : found.answer_end] == answer
    assert notes == ()


@pytest.mark.parametrize("mark", ["[2]", "[Passage 2]", "【2】", "[^2]", "[source 2]"])
def test_numbers_are_known_as_models_write_them(mark: str) -> None:
    (found,), _ = cite(f"The first release came in March 2024. {mark}", PASSAGES)
    assert (found.number, found.written) == (2, True)


def test_a_number_behind_the_full_stop_belongs_to_the_sentence_before() -> None:
    answer = "The first release came in March 2024. [2] It needs Python 3.10 or newer. [1]"
    first, second = cite(answer, PASSAGES)[0]
    assert (first.number, second.number) == (2, 1)
    assert answer[second.answer_start : second.answer_end] == "It needs Python 3.10 or newer."


@pytest.mark.fault("F75")
def test_a_number_without_a_passage_is_dropped_and_said() -> None:
    citations, notes = cite("The first release came in March 2024 [7].", PASSAGES)
    assert [each.number for each in citations] == [2]  # what does support it is named instead
    assert not citations[0].written
    assert notes == ("[7] is not the number of a passage",)


@pytest.mark.fault("F75")
def test_a_number_of_a_passage_that_says_something_else_is_dropped_and_said() -> None:
    citations, notes = cite("Bananas are yellow and grow in warm countries [1].", PASSAGES)
    assert citations == ()
    assert notes == (
        "[1] does not say what it is cited for: Bananas are yellow and grow in warm countries [1].",
    )


def test_a_sentence_without_a_number_is_matched_with_what_says_it() -> None:
    (found,), _ = cite("You need Python 3.10 or newer.", PASSAGES)
    assert (found.number, found.line, found.written) == (1, 13, False)
    assert found.text == "It needs Python 3.10 or newer and 200 MB of disk."
    assert GUIDE[found.start - 100 : found.end - 100] == found.text


def test_a_wrong_figure_is_not_supported() -> None:
    assert cite("The first release came in May 1987.", PASSAGES)[0] == ()


def test_a_short_answer_is_quoted_from_the_sentence_that_was_asked_about() -> None:
    (found,), _ = cite("November 2025", PASSAGES, "When did version 2 follow?")
    assert found.text == "Version 2 followed in November 2025."


def test_answers_in_writing_without_spaces_are_matched() -> None:
    passage = Passage(1, "张伟住在北京。李娜住在上海。", "人.txt", 0, 14)
    (found,), _ = cite("李娜住在上海。", [passage])
    assert found.text == "李娜住在上海。"


def test_without_passages_every_number_is_made_up() -> None:
    assert cite("See [1].", []) == ((), ("[1] is not the number of a passage",))


@pytest.mark.parametrize("answer", ["", "...", "[1]", "[[1]]", "[1][1]", "\n[2]\n", "(1)", "[0]"])
def test_answers_of_no_words_have_no_citation(answer: str) -> None:
    assert cite(answer, PASSAGES)[0] == ()
