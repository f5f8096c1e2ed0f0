"""Who gets how many rows of a step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cactus.engine.costs import StepCosts
from cactus.generate.schedule import (
    FEWEST,
    LONGEST_GAP,
    SHORT,
    SHORT_STEPS,
    STEPS,
    Part,
    Schedule,
)


class Known(SimpleNamespace):
    """Lanes are keys: each is equal to itself only."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


def lane(*, behind: int, streamed: bool = False, call: object = None) -> Any:
    """One that is to read `behind` tokens, or to write where that is 1; of a call of its own."""
    progress = SimpleNamespace(behind=behind, cached=0, ids=[0] * behind, speculation=None)
    progress.foresees = progress.guided = False
    own = Known() if call is None else call
    return Known(wants=True, streamed=streamed, progress=progress, call=own, tenant=None)


def made(most: int = 64) -> Schedule:
    return Schedule(256, most, StepCosts())


def parts(schedule: Schedule, *lanes: Any) -> list[Part]:
    return schedule.parts(lanes, dict, guessing=True)


def test_a_prompt_gets_the_whole_step_while_nobody_else_is_written_for() -> None:
    schedule, call = made(), object()
    writer, reader = lane(behind=1, call=call), lane(behind=4000, call=call)
    assert [part.most for part in parts(schedule, reader)] == [256]
    assert [part.most for part in parts(schedule, writer, reader)] == [1, 255]


@pytest.mark.parametrize("streamed", [True, False])
def test_a_prompt_beside_others_gets_as_many_rows_as_the_longest_gap_allows(streamed: bool) -> None:
    schedule = made()
    writer, reader = lane(behind=1, streamed=streamed), lane(behind=4000)
    for row_seconds in (0.001, 0.004, 0.0005):  # of a machine that others use, too
        for _ in range(40):
            both = parts(schedule, writer, reader)
            rows = both[1].most
            schedule.record(both, 1 + rows, row_seconds * rows)
        assert 0.7 * LONGEST_GAP <= row_seconds * rows <= LONGEST_GAP
    for _ in range(40):  # however slow it is, the prompt is read
        both = parts(schedule, writer, reader)
        schedule.record(both, 9, 1.0)
    assert both[1].most == FEWEST


def test_prompts_are_read_in_large_steps_until_one_is_broken_and_in_short_ones_then() -> None:
    schedule = made()
    readers = [lane(behind=40_000) for _ in range(3)]

    def step() -> int:
        several = parts(schedule, *readers)
        rows = sum(part.most for part in several)
        assert schedule.breakable(several) is (rows == 256)
        schedule.record(several, rows, 0.002 * rows)
        return rows

    assert [step() for _ in range(5)] == [256] * 5
    schedule.broken()
    short = [step() for _ in range(SHORT_STEPS)]
    assert all(0.7 * SHORT <= 0.002 * rows <= SHORT for rows in short)
    assert [step() for _ in range(5)] == [256] * 5


def test_only_a_step_that_reads_for_several_is_broken_when_one_of_them_leaves() -> None:
    schedule, call = made(), object()
    reader, writer = lane(behind=4000), lane(behind=1)
    alike = [lane(behind=4000, call=call) for _ in range(2)]
    for several, broken in (([reader], False), (alike, False), ([reader, writer], False),
                            ([reader, *alike], True)):  # fmt: skip
        assert schedule.breakable(parts(schedule, *several)) is broken


def test_where_writing_takes_long_a_prompt_gets_a_few_times_as_long() -> None:
    schedule = made()
    writers = [lane(behind=1) for _ in range(8)]
    reader = lane(behind=4000)
    writing = 0.1
    for _ in range(20):
        schedule.record(parts(schedule, *writers), 8, writing)
    for _ in range(40):
        mixed = parts(schedule, *writers, reader)
        rows = mixed[-1].most
        schedule.record(mixed, 8 + rows, writing + 0.005 * rows)
    assert 0.7 * STEPS * writing <= writing + 0.005 * rows <= STEPS * writing


def test_what_is_learned_where_nobody_else_waits_does_not_count() -> None:
    schedule, call = made(), object()
    writer, reader = lane(behind=1, call=call), lane(behind=4000, call=call)
    for _ in range(20):
        both = parts(schedule, writer, reader)
        schedule.record(both, 256, 0.3)
    other = parts(schedule, lane(behind=1), reader)[1].most
    assert other < 64


def test_several_readers_share_the_room_and_leave_what_they_do_not_need() -> None:
    schedule = made()
    short, long = lane(behind=20), lane(behind=4000)
    found = {id(part.lane): part.most for part in parts(schedule, long, short)}
    assert found == {id(short): 20, id(long): 236}


def test_more_writers_than_a_step_has_take_turns() -> None:
    schedule = made(most=8)
    writers = [lane(behind=1) for _ in range(20)]
    written = {id(writer): 0 for writer in writers}
    for step in range(1, 41):
        for part in parts(schedule, *writers):
            written[id(part.lane)] += 1
        assert sum(written.values()) == 8 * step
        assert max(written.values()) - min(written.values()) <= 1
