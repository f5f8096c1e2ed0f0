"""Who reads next: nobody is kept waiting by those that have much to read, or are many."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from cactus.generate.turn_taking import TURN, TurnTaking


@dataclass(eq=False)
class Prompt:
    left: int
    tenant: str | None = None
    read: int = 0


def step(turns: TurnTaking, room: int, *prompts: Prompt) -> dict[Prompt, int]:
    """One step of those that have something left; what each was given."""
    given = turns.share(room, {one: one.left for one in prompts if one.left})
    for one, rows in given.items():
        assert 0 < rows <= one.left
        one.left -= rows
        one.read += rows
    return given


def test_all_room_is_given_while_somebody_has_something_left() -> None:
    chance = random.Random(1)
    turns = TurnTaking()
    prompts = [Prompt(chance.randint(0, 500), chance.choice("ab")) for _ in range(20)]
    while left := sum(one.left for one in prompts):
        room = chance.randint(1, 300)
        assert sum(step(turns, room, *prompts).values()) == min(room, left)


@pytest.mark.parametrize("room", [1, 7, 64, 100, 256])
def test_prompts_that_are_read_together_have_read_equally_much(room: int) -> None:
    turns = TurnTaking()
    prompts = [Prompt(100_000) for _ in range(5)]
    for _ in range(200):
        step(turns, room, *prompts)
        read = [one.read for one in prompts]
        assert max(read) - min(read) <= TURN


def test_a_step_is_given_in_few_pieces() -> None:
    turns = TurnTaking()
    prompts = [Prompt(100_000) for _ in range(30)]
    for _ in range(30):
        assert len(step(turns, 256, *prompts)) == 256 / TURN
        assert len(step(turns, 32, *prompts)) == 1


@pytest.mark.fault("F61")
def test_a_tenant_with_many_prompts_has_read_no_more_than_one_with_few() -> None:
    turns = TurnTaking()
    many = [Prompt(100_000, "many") for _ in range(40)]
    one = Prompt(100_000, "one")
    for _ in range(100):
        step(turns, 100, *many, one)
        assert abs(sum(other.read for other in many) - one.read) <= 2 * TURN


@pytest.mark.fault("F61")
def test_a_short_prompt_waits_for_one_turn_of_each_that_is_there() -> None:
    turns = TurnTaking()
    long = [Prompt(100_000) for _ in range(6)]
    for _ in range(50):
        step(turns, 50, *long)
    short = Prompt(40)
    before = sum(one.read for one in long)
    while short.left:
        step(turns, 50, *long, short)
    assert sum(one.read for one in long) - before <= (len(long) + 1) * TURN


def test_a_long_prompt_goes_on_while_short_ones_come_all_the_time() -> None:
    turns = TurnTaking()
    long = Prompt(100_000)
    here: list[Prompt] = []
    for _ in range(300):
        here = [one for one in here if one.left] + [Prompt(TURN)]
        step(turns, TURN, long, *here)
    assert long.read > 0
    before = long.read
    for _ in range(len(here) + 2):
        step(turns, TURN, long, *here)
    assert long.read > before


def test_who_was_away_has_no_claim_to_what_others_have_read_meanwhile() -> None:
    turns = TurnTaking()
    first, second = Prompt(10_000, "first"), Prompt(100, "second")
    for _ in range(40):
        step(turns, 64, first, second)
    back = Prompt(10_000, "second")
    before = first.read
    for _ in range(20):
        step(turns, 64, first, back)
    assert abs(back.read - (first.read - before)) <= 2 * TURN
