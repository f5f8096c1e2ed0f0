"""Who gets how many rows of a step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from cactus.engine.costs import StepCosts
from cactus.generate.schedule import FEWEST, LONGEST_GAP, Part, Schedule


class Known(SimpleNamespace):
    """Lanes are keys: each is equal to itself only."""

    __hash__ = object.__hash__


def lane(*, behind: int, streamed: bool = False) -> Any:
    """One that is to read `behind` tokens, or to write where that is 1."""
    progress = SimpleNamespace(behind=behind, cached=0, ids=[0] * behind, speculation=None)
    return Known(wants=True, streamed=streamed, progress=progress)


def parts(schedule: Schedule, *lanes: Any) -> list[Part]:
    return schedule.parts(lanes, dict, guessing=True)


def test_a_prompt_gets_the_whole_step_while_nobody_streams() -> None:
    schedule = Schedule(256, StepCosts())
    writer, reader = lane(behind=1), lane(behind=4000)
    assert [part.most for part in parts(schedule, reader)] == [256]
    assert [part.most for part in parts(schedule, writer, reader)] == [1, 255]


def test_a_prompt_beside_a_stream_gets_as_many_rows_as_the_longest_gap_allows() -> None:
    schedule = Schedule(256, StepCosts())
    writer, reader = lane(behind=1, streamed=True), lane(behind=4000)
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


def test_several_readers_share_the_room_and_leave_what_they_do_not_need() -> None:
    schedule = Schedule(256, StepCosts())
    short, long = lane(behind=20), lane(behind=4000)
    found = {id(part.lane): part.most for part in parts(schedule, long, short)}
    assert found == {id(short): 20, id(long): 236}
