from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cactus.engine.costs import MOST, StepCosts
from cactus.errors import InsufficientMemory, NonFiniteLogits
from cactus.generate.speculation import LONGEST, Lookup, Speculation, may_pay, worthwhile
from tests.generate.scripted import (
    END,
    VOCABULARY,
    FixedCosts,
    Harness,
    babbling,
    joined,
    read,
    same,
    saying,
)

ids = st.lists(st.integers(0, 2), max_size=30)

PROVERB = "the early bird catches the worm, but the second mouse gets the cheese"


def guessing(script: Any, **options: Any) -> Harness:
    """A harness whose engine thinks that guesses cost nothing."""
    return Harness(script, slope=0.0, **{"chunk": 40, **options})


def plain(script: Any, **options: Any) -> Harness:
    return Harness(script, slope=1.0, **{"chunk": 40, **options})


# -- the lookup


def last_place(history: Sequence[int], length: int) -> int | None:
    """Where the last `length` tokens stood before, by trying every place."""
    wanted = history[-length:]
    for end in range(len(history) - 1, length - 1, -1):
        if history[end - length : end] == wanted:
            return end
    return None


@settings(derandomize=True, deadline=None)
@given(ids)
def test_guesses_are_what_followed_the_last_place_of_three_tokens_or_of_two(
    history: list[int],
) -> None:
    lookup = Lookup(history)
    place = (last_place(history, 3) if len(history) > 2 else None) or (
        last_place(history, 2) if len(history) > 2 else None
    )
    assert lookup.guesses(5) == ([] if place is None else history[place : place + 5])
    if place is None:
        assert lookup.agreed == 0
    else:
        agreed = next(
            n for n in range(LONGEST, 0, -1) if history[max(0, place - n) : place] == history[-n:]
        )
        assert lookup.agreed == agreed


@settings(derandomize=True, deadline=None)
@given(ids, ids)
def test_a_token_at_a_time_is_like_all_at_once_unless_a_right_guess_is_followed(
    beginning: list[int], rest: list[int]
) -> None:
    lookup = Lookup(beginning)
    history = list(beginning)
    for token in rest:
        expected = lookup.guesses(2)
        lookup.append(token)
        history.append(token)
        if expected[:1] == [token]:
            assert lookup.agreed >= 3
            if len(expected) == 2:
                assert lookup.guesses(1) == expected[1:]
        else:
            fresh = Lookup(history)
            assert (lookup.agreed, lookup.guesses(9)) == (fresh.agreed, fresh.guesses(9))
        if lookup.agreed:
            tail = history[-lookup.agreed :]
            followed = [*tail, *lookup.guesses(1)]
            assert any(
                history[at : at + len(followed)] == followed
                for at in range(len(history) - len(tail))
            )


def test_a_right_guess_is_followed_on_even_where_another_place_is_later() -> None:
    lookup = Lookup([1, 2, 3, 7, 8, 9, 2, 3, 4, 0, 1, 2])
    assert lookup.guesses(3) == [3, 7, 8]
    lookup.append(3)  # 1 2 3 stood before 7; the later 2 3, before 4, agrees with less
    assert lookup.guesses(2) == [7, 8]


# -- how many guesses pay


def guesses(speculation: Speculation, room: int, slope: float) -> list[int]:
    """What a step of this answer alone would guess, where a further row costs so much."""
    return speculation.guess(worthwhile([speculation], room, FixedCosts(slope))[0])


def test_guesses_end_with_the_answer_with_the_room_and_at_most() -> None:
    again = [*range(40), 0, 1, 2]
    assert len(guesses(Speculation(again, 1000), 39, 0)) == MOST
    assert len(guesses(Speculation(again, 1000), 5, 0)) == 5
    assert guesses(Speculation(again, 4), 39, 0) == [3, 4, 5]
    assert guesses(Speculation(again, 1), 39, 0) == []
    assert guesses(Speculation(again, 0), 39, 0) == []


def test_guesses_that_cost_a_step_each_are_not_made() -> None:
    assert guesses(Speculation([*range(40), 0, 1, 2], 1000), 39, 1) == []


def test_guesses_become_bold_when_they_are_right_and_end_when_they_are_wrong() -> None:
    lucky = Speculation([*range(60), 0, 1, 2], 1000)
    assert guesses(lucky, 39, 0.4) == []
    lucky.learn(range(3, 30))
    assert len(guesses(lucky, 39, 0.4)) > 4
    unlucky = Speculation([*range(60), 0, 1, 2], 1000)
    sizes = []
    for start in range(10, 50):
        sizes.append(len(guesses(unlucky, 39, 0.01)))
        unlucky.learn([100 + start, start, start + 1, start + 2])
        unlucky.learn([200 + start])  # never what followed there
    assert sizes[0] > 1
    unlucky.learn([7, 8, 9])
    assert len(guesses(unlucky, 39, 0.01)) < sizes[0]


def test_in_a_step_of_several_answers_the_likeliest_guesses_are_made() -> None:
    ids = [*range(60), 0, 1, 2]
    likely, unlikely, none = Speculation(ids, 99), Speculation(ids, 99), None
    likely.learn(range(3, 30))
    costs = FixedCosts(0.4)
    counts = worthwhile([unlikely, none, likely], 61, costs)
    assert counts[:2] == [0, 0] and counts[2] > 4
    assert worthwhile([unlikely, none, likely], 3, costs) == [0, 0, 3]
    # Where a row costs nothing, all that can be guessed is, as far as there is room.
    assert worthwhile([unlikely, none, likely], 61, FixedCosts(0)) == [MOST, 0, MOST]
    assert sum(worthwhile([likely] * 8, 20, FixedCosts(0))) == 20


def test_what_a_guess_must_promise_grows_with_the_rows_that_a_step_has_without_it() -> None:
    # The ninth row costs as much as three steps: one answer alone would guess.
    class Steep(FixedCosts):
        def of(self, rows: int) -> float:
            return 1 + 0.01 * rows if rows <= 8 else 4.0

    sure = Speculation([*range(60), 0, 1, 2], 99)
    sure.learn(range(3, 30))
    assert guesses(sure, 39, 0.01)
    assert worthwhile([sure], 39, Steep(0))[0] > 0
    assert worthwhile([sure, *[None] * 7], 39, Steep(0)) == [0] * 8


def test_costs_are_learned_from_steps() -> None:
    costs = StepCosts()
    for _ in range(200):
        costs.record(1, 0.002)
        costs.record(5, 0.006)
    assert costs.of(1) == 1
    assert costs.of(5) == pytest.approx(3, rel=0.05)
    assert costs.of(9) == pytest.approx(5, rel=0.05)


def test_rows_that_share_a_tile_are_told_from_those_that_need_another() -> None:
    costs = StepCosts()
    for _ in range(100):
        costs.record(1, 0.002)
        costs.record(4, 0.0025)
        costs.record(5, 0.005)
    assert costs.of(4) < 1.6 and costs.of(5) > 2


def test_one_disturbed_measurement_changes_little_and_is_forgotten() -> None:
    costs = StepCosts()
    for _ in range(50):
        costs.record(1, 0.002)
    costs.record(2, 5.0)
    assert costs.of(2) < 1.6
    for _ in range(20):
        costs.record(2, 5.0)
    assert costs.of(2) > 2
    for _ in range(5000):
        costs.record(1, 0.002)
    assert costs.of(2) == pytest.approx(1 + StepCosts.START, rel=0.01)


# -- whole answers


def fickle(history: list[int], _answered: int) -> int:
    """Repeats itself often, but not always: guesses are right, wrong, and right for a while."""
    if len(history) % 11 == 0:
        return 97 + sum(history) % 3
    return 97 + history[-1] * history[-2] % 3


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    st.lists(st.text("abc", min_size=2, max_size=20), min_size=1, max_size=4),
    st.integers(1, 60),
    st.integers(2, 40),
    st.integers(1, 5),
)
def test_the_answer_is_the_same_as_without(
    prompts: list[str], max_tokens: int, chunk: int, grain: int
) -> None:
    fast = guessing(fickle, chunk=chunk, grain=grain)
    for prompt in prompts:
        events, done = read(fast.start(prompt, max_tokens=max_tokens))
        slow_events, slow = read(plain(fickle).start(prompt, max_tokens=max_tokens))
        assert events == slow_events and same(done, slow)
        assert fast.conversation.tokens == fast.conversation.session.tokens


def test_right_guesses_save_steps_and_wrong_ones_are_taken_back() -> None:
    rig = guessing(fickle)
    done = rig.answer("abcabc", max_tokens=150)
    steps = rig.program.steps[1:]
    assert same(done, plain(fickle).answer("abcabc", max_tokens=150))
    assert len(steps) < 100
    assert sum(map(len, steps)) > 150, "no guess was ever wrong"


@pytest.mark.parametrize("stop", ["mouse", "second m", "t the"])
@pytest.mark.parametrize("include", [False, True])
def test_a_stop_string_inside_a_run_of_right_guesses(stop: str, include: bool) -> None:
    options: dict[str, Any] = {"stop": stop, "include_stop_sequences": include}
    rig = guessing(saying(PROVERB))
    events, done = read(rig.start(f"{PROVERB}. the", **options))
    slow_events, slow = read(plain(saying(PROVERB)).start(f"{PROVERB}. the", **options))
    assert events == slow_events and same(done, slow)
    end = PROVERB.index(stop) + (len(stop) if include else 0)
    assert done.text == joined(events) == PROVERB[:end] and done.finish_reason == "stop"
    assert len(rig.program.steps) - 2 < len(done.tokens) / 2
    # The next turn begins with what was read, and not with what was guessed beyond the stop.
    prompt = f"{PROVERB}. the{done.text}!"
    assert rig.answer(prompt).text == PROVERB
    assert rig.conversation.tokens[: len(prompt)] == list(prompt.encode())


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 17, 18, 30])
def test_max_tokens_inside_a_run_of_right_guesses(max_tokens: int) -> None:
    rig = guessing(saying(PROVERB))
    done = rig.answer(PROVERB + PROVERB[:3], max_tokens=max_tokens)
    assert done.text == PROVERB[:max_tokens] and done.finish_reason == "length"
    assert len(rig.conversation.tokens) <= len(PROVERB) + 3 + max_tokens - 1


def test_the_end_of_the_context_inside_a_run_of_right_guesses() -> None:
    prompt = PROVERB + PROVERB[:10]
    rig = guessing(saying(PROVERB[10:]), context=len(prompt) + 12)
    done = rig.answer(prompt)
    assert done.text == PROVERB[10:22] and done.finish_reason == "length"
    assert len(rig.conversation.tokens) <= len(prompt) + 11
    assert len(rig.program.steps) < 12


def test_the_end_of_the_turn_inside_a_run_of_right_guesses() -> None:
    def script(_history: list[int], answered: int) -> int:
        return [*b"the early bird", END][min(answered, 14)]

    rig = guessing(script)
    assert rig.answer(PROVERB + " the").text == "the early bird"


def test_a_hand_off_inside_a_run_of_right_guesses() -> None:
    unsure = [0.0] * 20 + [math.log(VOCABULARY)] * 30
    script = saying(PROVERB, entropies=unsure)
    prompt = PROVERB + PROVERB[:3]
    fast, slow = (
        rig.answer(prompt, confidence_threshold=0.5) for rig in (guessing(script), plain(script))
    )
    assert fast.finish_reason == "handoff" and same(fast, slow)


def test_stop_works_within_a_token_inside_a_run_of_right_guesses() -> None:
    rig = guessing(saying(PROVERB))
    events = []
    generation = rig.start(PROVERB + PROVERB[:3])
    for event in generation.events():
        events.append(event)
        if len(events) == 9:
            assert len(rig.program.steps) < 9 + 2
            rig.turns.stop()
    assert joined(events) == PROVERB[:9]
    assert generation.result is not None
    assert generation.result.finish_reason == "cancelled"
    assert generation.result.tokens == tuple(PROVERB[:9].encode())


@pytest.mark.parametrize(
    "options",
    [
        {"speculation": False},
        {"repetition_penalty": 1.1},
        {"presence_penalty": 1},
        {"frequency_penalty": 1},
    ],
)
def test_nothing_is_guessed_where_a_choice_depends_on_what_was_chosen(options: Any) -> None:
    rig = guessing(saying(PROVERB))
    rig.answer(PROVERB + PROVERB[:3], **options)
    assert all(len(step) == 1 for step in rig.program.steps[2:])
    rig.program.steps.clear()
    rig.answer(PROVERB + PROVERB[:4], speculation=True)
    assert any(len(step) > 1 for step in rig.program.steps[1:])


def test_a_guess_that_overflows_is_only_a_wrong_guess() -> None:
    # After "ear" the prompt went on with "ly"; the answer does not, and "l" would overflow.
    said = "the earnest bird catches"

    def script(history: list[int], answered: int) -> tuple[int, float]:
        if history[-4:] == list(b"earl") and len(history) > len(PROVERB):
            return ord("x"), math.nan
        return [*said.encode(), END][min(answered, len(said))], 0.1

    rig = guessing(script)
    assert rig.answer(PROVERB + "the").text == said
    assert any(bytes(step).find(b"earl") >= 0 for step in rig.program.steps[2:])


@pytest.mark.parametrize("error", [NonFiniteLogits, InsufficientMemory])
def test_a_step_that_fails_because_of_its_guesses_is_taken_without(error: type[Exception]) -> None:
    rig = guessing(saying(PROVERB))
    failed = []

    def fail(tokens: Sequence[int]) -> None:
        if len(tokens) > 1 and len(rig.program.steps) > 2:
            failed.append(tokens)
            raise error("too much")

    rig.program.during = fail
    done = rig.answer(PROVERB + PROVERB[:3])
    assert done.text == PROVERB and failed
    rig.program.during = lambda tokens: None
    assert rig.answer(PROVERB + PROVERB[:3]).text == PROVERB


def test_a_step_that_fails_without_guesses_fails() -> None:
    rig = guessing(babbling)

    def fail(_tokens: object) -> None:
        raise InsufficientMemory("no memory")

    rig.program.during = fail
    with pytest.raises(InsufficientMemory):
        rig.answer()


@pytest.mark.parametrize("slope", [0.02, 0.1, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("rows", [1, 3, 8, 30, 64])
def test_where_no_guess_could_pay_none_is_chosen(slope: float, rows: int) -> None:
    costs, room = FixedCosts(slope), 320 - rows
    certain = SimpleNamespace(chances=lambda room: [0.9999] * min(room, MOST))
    chosen = worthwhile([certain] * rows, room, costs)
    if not may_pay(rows, room, costs):
        assert chosen == [0] * rows
    elif rows * MOST >= room:
        assert sum(chosen) > 0
