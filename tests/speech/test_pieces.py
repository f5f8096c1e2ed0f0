"""Where an answer is cut into segments, on answers written by hand and on any answer at all."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cactus.speech.pieces import end_of, is_closed, split
from tests.speech.test_rules import SMALL

FRAMES = 200  # two seconds


def at(seconds: float) -> int:
    return SMALL.first_time + round(seconds / 0.02)


@pytest.mark.parametrize(
    ("tokens", "pieces", "advance"),
    [
        ([], [], FRAMES),
        ([7, 8], [(0.0, 2.0, [7, 8])], FRAMES),
        ([at(0), 7, at(1)], [(0.0, 1.0, [at(0), 7, at(1)])], FRAMES),
        ([at(0.5), 7], [(0.5, 2.0, [at(0.5), 7])], FRAMES),
        ([7, at(0.5), 8], [(0.0, 0.5, [7, at(0.5), 8])], FRAMES),
        (  # the last piece has no end: it is heard again
            [at(0), 7, at(1), at(1.1), 8],
            [(0.0, 1.0, [at(0), 7, at(1)])],
            100,
        ),
        (  # the last piece ends, and nothing after it
            [at(0), 7, at(1), at(1.1), 8, at(1.5)],
            [(0.0, 1.0, [at(0), 7, at(1)]), (1.1, 1.5, [at(1.1), 8, at(1.5)])],
            FRAMES,
        ),
        ([at(0), 7, at(1), at(1)], [(0.0, 1.0, [at(0), 7, at(1)])], 100),
    ],
)
def test_pieces(tokens: list[int], pieces: list[object], advance: int) -> None:
    found, moved = split(tokens, SMALL, FRAMES)
    assert [(piece.start, piece.end, list(piece.tokens)) for piece in found] == pieces
    assert moved == advance


@pytest.mark.parametrize(
    ("tokens", "end"),
    [
        ([at(0), 7, at(0.5)], 50),
        ([at(0), 7, at(0.3), at(0.4), 8, at(0.9)], 90),
        ([at(0), 7, at(1.1)], 600),  # so much may be a pause
        ([at(0), 7, at(2)], 600),
    ],
)
def test_where_a_closed_answer_ends(tokens: list[int], end: int) -> None:
    pieces, advance = split(tokens, SMALL, 600)
    assert is_closed(tokens, SMALL)
    assert (end_of(pieces[-1], 600), advance) == (end, 600)


@pytest.mark.parametrize(
    "tokens", [[at(0), 7, at(0.5), at(0.6), 8], [at(0), 7], [7, 8], [at(0)], [], [7, at(1), at(1)]]
)
def test_an_answer_that_is_not_closed(tokens: list[int]) -> None:
    assert not is_closed(tokens, SMALL)


def test_nothing_is_behind_the_end_of_a_short_window() -> None:
    found, moved = split([at(0), 7, at(0.4), at(0.6), 8, at(1.9)], SMALL, 50)
    assert [(piece.start, piece.end) for piece in found] == [(0.0, 0.4), (0.5, 0.5)]
    assert moved == 50


@pytest.mark.fault("F48")
@given(st.lists(st.integers(0, 39) | st.integers(SMALL.first_time, SMALL.size - 1), max_size=30))
def test_no_token_is_in_two_pieces_and_windows_always_move(tokens: list[int]) -> None:
    assert 0 < split(tokens, SMALL, 600)[1] <= 600
    found, moved = split(tokens, SMALL, FRAMES)
    assert moved > 0
    joined = [id for piece in found for id in piece.tokens]
    assert joined == tokens[: len(joined)]
    if len(joined) < len(tokens):  # what was left is heard again
        assert moved == (2 * (joined[-1] - SMALL.first_time) or FRAMES)


@pytest.mark.fault("F48")
def test_pieces_of_ordered_times_are_in_order() -> None:
    tokens = [id for i in range(9) for id in (at(i * 0.2), 7, at(i * 0.2 + 0.1))]
    found, _ = split(tokens, SMALL, FRAMES)
    times = [time for piece in found for time in (piece.start, piece.end)]
    assert all(a <= b for a, b in pairwise(times))
