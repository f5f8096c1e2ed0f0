"""Two rankings as one, and texts that are nearly the same."""

from __future__ import annotations

import numpy as np
import pytest

from cactus.retrieval.fuse import Distinct, fuse, joined, largest, matches

TEXT = " ".join(f"word{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(120))


def test_what_both_rankings_have_comes_first_and_ties_go_by_number() -> None:
    assert fuse([[5, 3, 9], [9, 8]]) == [9, 5, 3, 8]
    assert fuse([[7], [2]]) == [2, 7]
    assert fuse([]) == []


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9, 100])
def test_the_largest_are_found_in_order(count: int) -> None:
    values = np.array([1, 5, 3, 5, -np.inf, 5, 0, 3], np.float32)
    order = [1, 3, 5, 2, 7, 0, 6]
    assert largest(values, count).tolist() == order[:count]


def test_texts_that_differ_in_a_word_are_one_and_in_a_number_are_not() -> None:
    distinct = Distinct()
    assert distinct.add(TEXT) is None
    assert distinct.add(TEXT.upper().replace(" ", "\n")) == 0
    assert distinct.add(TEXT.replace("wordzc", "other")) == 0
    assert distinct.add(f"{TEXT} version 2") is None
    assert distinct.add(f"{TEXT} version 3") is None
    assert distinct.add(f"{TEXT} version 2") == 1
    assert distinct.add(TEXT[: len(TEXT) // 2]) is None
    assert distinct.add("short") is None
    assert distinct.add("Short!") == 4
    assert distinct.add("") is None


def test_many_texts_are_compared_with_few() -> None:
    distinct = Distinct()
    for n in range(2_000):
        assert distinct.add(" ".join(f"w{n * k % 997}x{n}" for k in range(20))) is None


def test_neighbours_are_joined_as_the_document_has_them() -> None:
    document = "One two three.\n\nFour five.  Six."
    parts = [(0, 14), (4, 14), (16, 26), (22, 32)]
    pieces = [(start, end, document[start:end]) for start, end in parts]
    assert joined(pieces) == (0, 32, document)
    assert joined(pieces[:1]) == (0, 14, "One two three.")


def test_metadata_fits_one_value_or_several() -> None:
    assert matches({"kind": "pdf", "year": "2024"}, {"kind": "pdf"})
    assert matches({"kind": "pdf"}, {"kind": ["html", "pdf"]})
    assert not matches({"kind": "pdf"}, {"kind": "html"})
    assert not matches({}, {"kind": "pdf"})
