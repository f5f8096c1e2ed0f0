"""Cutting documents: all of the text, in order, within limits, at the places where people would."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cactus.documents.chunk import chunk
from cactus.documents.readers.lines import Blocks
from cactus.documents.readers.markup import markdown
from cactus.documents.types import Block, Chunk, Document
from cactus.errors import InvalidRequest
from tests.documents.made import offsets

SENTENCE = "The engine reads a folder of documents and cuts the text of each file into chunks. "


def plain(text: str) -> Document:
    return Document(text, [Block("text", 0, len(text))], "text", encoding="utf-8")


def marked(text: str) -> Document:
    return Document(text, markdown(text), "markdown", encoding="utf-8")


def cut(document: Document, **options: float) -> list[Chunk]:
    return list(chunk(document, offsets, **options))  # type: ignore[arg-type]


def check(document: Document, chunks: list[Chunk], most: int = 250) -> None:
    """What holds for every document."""
    text = document.text
    covered = [False] * len(text)
    for before, after in zip([None, *chunks], chunks, strict=False):
        assert text[after.start : after.end] == after.text
        assert after.text == after.text.strip() != ""
        assert after.tokens <= most
        assert before is None or (before.start <= after.start and before.end < after.end)
        covered[after.start : after.end] = [True] * len(after.text)
    begin = document.blocks[0].start if document.blocks else len(text)
    lost = [text[at] for at in range(begin, len(text)) if not covered[at]]
    assert not "".join(lost).strip()


PIECES = st.sampled_from(
    [
        *("word ", "A sentence. ", "Dr. No said so! ", "\n", "\n\n", "\r\n", "# Title\n", "## B\n"),
        *("```\ncode = 1\n```\n", "```py\n" + "x = 1\n" * 60 + "```\n", "| a | b |\n|---|---|\n"),
        *(
            "| 1 | 2 |\n",
            "这是一句话。",
            "x" * 300,
            "- item\n",
            "    code\n",
            "\t",
            " " * 50,
            "......",
        ),
        *("मैं जाता हूँ। ", "\u200b" * 40, "👩‍👩‍👧", "\ufffd", "=====\n", "-----\n", "\x0c", "\u2028"),
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=30), max_size=60).map("".join)


@given(TEXTS, st.integers(8, 60), st.integers(0, 40), st.sampled_from([0.0, 0.15, 0.5]))
def test_every_character_is_in_some_chunk_in_order_and_within_limits(
    text: str, target: int, more: int, overlap: float
) -> None:
    for document in (plain(text), marked(text)):
        chunks = cut(document, target=target, most=target + more, overlap=overlap)
        check(document, chunks, target + more)


@given(st.lists(st.tuples(st.sampled_from(["text", "code", "lines", "table"]), TEXTS), max_size=8))
def test_blocks_of_all_kinds_are_covered(pieces: list[tuple[str, str]]) -> None:
    blocks = Blocks()
    text = ""
    for kind, piece in pieces:
        text += piece
        blocks.add(kind, len(text) - len(piece), len(text))  # type: ignore[arg-type]
    document = Document(text, list(blocks), "made")
    check(document, cut(document, target=20, most=25), 25)


def test_a_short_document_is_one_chunk_without_the_space_around_it() -> None:
    (only,) = cut(plain("\n\n  Short.  \n"))
    assert (only.text, only.start, only.end, only.line, only.heading) == ("Short.", 4, 10, 3, "")


@pytest.mark.fault("F71")
@pytest.mark.parametrize("text", ["", " ", "\n\n\t \r\n", "\u3000"])
def test_a_document_of_spaces_gives_no_chunk(text: str) -> None:
    assert cut(plain(text)) == []


def test_chunks_of_prose_have_200_to_250_tokens_and_overlap_in_whole_sentences() -> None:
    document = plain(SENTENCE * 200)
    chunks = cut(document)
    check(document, chunks)
    assert all(200 <= piece.tokens <= 250 for piece in chunks[:-2])
    assert all(piece.text.startswith("The engine") for piece in chunks)
    assert all(piece.text.endswith("chunks.") for piece in chunks)
    shared = [before.end - after.start for before, after in pairwise(chunks)]
    share = sum(shared) / sum(len(piece.text) for piece in chunks)
    assert 0.05 < share < 0.25


def test_no_crumb_is_left_at_the_end() -> None:
    for count in range(10, 60):
        tokens = [piece.tokens for piece in cut(plain(SENTENCE * count))]
        assert min(tokens) >= 100 or len(tokens) == 1


def test_a_heading_begins_a_chunk_and_is_in_the_path() -> None:
    document = marked(
        f"# Guide\n\n{SENTENCE * 3}\n\n## Install\n\n{SENTENCE * 3}\n\n## Use\n\n{SENTENCE * 30}"
        f"\n\n# Other\n\n{SENTENCE * 3}"
    )
    chunks = cut(document)
    check(document, chunks)
    paths = [piece.heading for piece in chunks]
    assert paths[:2] == ["Guide", "Guide > Install"]
    assert set(paths[2:-1]) == {"Guide > Use"} and len(paths) > 4
    assert paths[-1] == "Other"
    assert [piece.text.partition("\n")[0] for piece in chunks if piece.text.startswith("#")] == [
        *("# Guide", "## Install", "## Use", "# Other"),
    ]


def test_a_section_of_a_few_words_is_joined_to_the_next() -> None:
    document = marked(f"# Book\n\n## Part\n\n### Chapter\n\n{SENTENCE * 3}")
    (only,) = cut(document)
    assert only.text.startswith("# Book") and only.heading == "Book > Part > Chapter"


@pytest.mark.parametrize("lines", [10, 20, 35, 48])
def test_code_that_fits_is_not_cut(lines: int) -> None:
    code = "```\n" + "value = compute(1)\n" * (lines // 2) + "\n" + "x = y\n" * 3 + "```\n"
    size = len(offsets(code))
    assert size <= 250
    for before in range(0, 30, 3):
        document = marked(SENTENCE * before + "\n\n" + code + "\n" + SENTENCE * 20)
        chunks = cut(document)
        check(document, chunks)
        assert any(code.strip() in piece.text for piece in chunks)


def test_code_that_does_not_fit_is_cut_between_lines() -> None:
    code = "```\n" + "value = compute(1)\n" * 200 + "```\n"
    document = marked(code)
    chunks = cut(document)
    check(document, chunks)
    assert all(piece.text.endswith(("compute(1)", "```")) for piece in chunks)


def test_a_chunk_inside_of_a_table_knows_the_header_row() -> None:
    rows = "".join(f"| {number} | a cell of text |\n" for number in range(100))
    document = marked("Before.\n\n| number | text |\n|---|---|\n" + rows + "\nAfter.\n")
    chunks = cut(document)
    check(document, chunks)
    assert chunks[0].header == ""
    assert {piece.header for piece in chunks[1:]} == {"| number | text |"}
    assert all(piece.text.startswith("| ") for piece in chunks[1:])


@pytest.mark.fault("F71")
def test_lines_are_those_of_the_file_whatever_ends_them() -> None:
    for newline in ("\n", "\r\n", "\r"):
        document = plain(newline.join(f"Line {number}. {SENTENCE}" for number in range(1, 80)))
        for piece in cut(document):
            number = piece.text[:8].split(".")[0].removeprefix("Line ")
            if piece.text.startswith("Line"):
                assert piece.line == int(number)


def test_pages_and_times_are_where_the_chunk_begins() -> None:
    text = SENTENCE * 60
    pages = [0, len(SENTENCE) * 20, len(SENTENCE) * 40]
    document = Document(text, [Block("text", 0, len(text))], "pdf", pages=pages)
    chunks = cut(document)
    assert {piece.page for piece in chunks} == {1, 2, 3} and chunks[0].line is None
    lines = "".join(SENTENCE.strip() + "\n" for _ in range(60))
    times = [(index * len(SENTENCE), index * 2.0, index * 2.0 + 1.5) for index in range(60)]
    spoken = Document(lines, [Block("lines", 0, len(lines))], "recording", times=times)
    chunks = cut(spoken, overlap=0)
    assert chunks[0].time is not None and chunks[0].time[0] == 0.0
    assert chunks[-1].time is not None and chunks[-1].time[1] == 59 * 2 + 1.5
    for before, after in pairwise(chunks):
        assert before.time and after.time and before.time[1] < after.time[0]


def test_text_that_the_tokenizer_makes_nothing_of_is_cut_too() -> None:
    document = plain("字" * 100_000)
    chunks = list(chunk(document, lambda text: [0]))
    check(document, chunks)
    assert max(len(piece.text) for piece in chunks) <= 250 * 32


def test_tokens_are_asked_for_once_and_in_pieces() -> None:
    asked: list[int] = []

    def count(text: str) -> list[int]:
        asked.append(len(text))
        return offsets(text)

    document = plain(SENTENCE * 4000)
    chunks = list(chunk(document, count))
    assert sum(asked) == len(document.text) and max(asked) <= 1 << 16
    check(document, chunks)


@pytest.mark.parametrize(
    "text", ["." * 300_000, "\n" * 300_000, "a.\n " * 80_000, '."' * 150_000, "。" * 300_000]
)
@pytest.mark.timeout(20)
def test_runs_of_marks_take_time_that_grows_with_the_text(text: str) -> None:
    document = plain(text)
    check(document, cut(document))


def test_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="target must be 8 to most"):
        cut(plain("x"), target=300)
    with pytest.raises(InvalidRequest, match="overlap must be"):
        cut(plain("x"), overlap=0.9)
