"""What two answers agree on: it is never taken back, and nothing else is sure."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cactus.speech.agreement import Agreement

TIME = 100
"""The first time; 1 to 5 are words, and 5 is half a character."""

answers = st.lists(st.lists(st.sampled_from([1, 2, 3, 4, 5, 100, 101, 110]), max_size=8))


def whole(tokens: list[int]) -> bool:
    return tokens[-1] != 5


def same(a: int, b: int) -> bool:
    return a == b or (a >= TIME and b >= TIME)


def said(tokens: list[int]) -> list[int]:
    return [token for token in tokens if token < TIME]


@given(answers, st.integers(1, 12), st.integers(0, 3))
def test_what_is_sure_was_heard_twice_and_stays(endings: Any, most: int, doubtful: int) -> None:
    agreement = Agreement(TIME, most)
    last: list[int] = []
    for ending in endings:
        before = agreement.sure
        answer = [*before, *ending]
        new = agreement.compare(answer, doubtful, whole)
        assert agreement.sure == before + new
        assert agreement.sure + agreement.unsure == answer
        assert len(agreement.sure) <= most
        assert all(same(a, b) for a, b in zip(agreement.sure, last, strict=False))
        assert len(agreement.sure) <= len(last)
        assert not new or (new[-1] < TIME and whole(new))
        if len(agreement.sure) < min(most, len(answer), len(last)):
            # Why not more: the next token differs, or nothing may be parted before it does.
            rest = zip(answer, last, strict=False)
            agreed = next((i for i, (a, b) in enumerate(rest) if not same(a, b)), len(last))
            open_ends = answer[len(agreement.sure) : min(agreed, most)]
            assert all(token >= TIME or token == 5 for token in open_ends)
        last = answer[: max(len(agreement.sure), len(answer) - doubtful)]


@given(answers, st.data())
def test_a_window_that_moves_on_loses_and_repeats_nothing(endings: Any, data: Any) -> None:
    agreement, told, past = Agreement(TIME, 20), [], []
    for ending in endings:
        answer = [*agreement.sure, *ending]
        if data.draw(st.booleans()):
            told += agreement.compare(answer, 0, whole)
        else:
            count = data.draw(st.integers(0, len(answer)))
            told += answer[len(agreement.sure) : count]
            agreement.close(answer, count, 3)
            past += answer[:count]
            assert said(agreement.sure + agreement.unsure) == said(answer[count:])
        assert said(told) == said(past + agreement.sure)


def test_times_move_with_the_window() -> None:
    agreement = Agreement(TIME, 20)
    first = [100, 1, 2, 108, 110, 3, 4]
    agreement.compare(first, 0, whole)
    assert agreement.compare([100, 1, 2, 109, 111, 3, 4, 2], 0, whole) == [
        100,
        1,
        2,
        109,
        111,
        3,
        4,
    ]
    # The window moves on behind the first segment, which ended at 9 steps.
    agreement.close([*agreement.sure, 112], 4, 9)
    assert agreement.sure == [102, 3, 4]
    assert agreement.unsure == [103]


def test_a_guess_is_shown_and_makes_nothing_sure() -> None:
    agreement = Agreement(TIME, 20)
    agreement.guess([100, 1, 2])
    assert agreement.unsure == [100, 1, 2]
    assert agreement.compare([100, 1, 2], 0, whole) == []
    assert agreement.compare([100, 1, 3], 0, whole) == [100, 1]
    agreement.clear()
    assert (agreement.sure, agreement.unsure) == ([], [])


def test_the_end_of_a_cut_sound_is_no_witness() -> None:
    agreement, stop = Agreement(TIME, 20), 4
    agreement.compare([100, 1, 2, stop, 101], 2, whole)
    assert agreement.compare([100, 1, 2, stop, 105], 2, whole) == [100, 1, 2]
    assert agreement.compare([100, 1, 2, stop, 1, 107], 1, whole) == []
    assert agreement.compare([100, 1, 2, stop, 1, 3, 110], 1, whole) == [stop, 1]
