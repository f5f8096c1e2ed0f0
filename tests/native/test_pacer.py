"""How many threads steps are done by, on machines of many, stolen and uneven cores.

The pacer is the native core's, compiled; the machines are those of ``core_model``. No time here is
measured: the same numbers come out everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.native import core_model
from tests.native.core_model import Machine, Pacer, Steps, Stolen

Make = Callable[[int], Pacer]

SMALL = core_model.decoding(hidden=576, inner=1536, layers=30, vocab=49_152)
LARGE = core_model.decoding(hidden=2048, inner=8192, layers=16, vocab=128_256)


@pytest.fixture(scope="module")
def pacer(tmp_path_factory: pytest.TempPathFactory) -> Make:
    return core_model.compiled(tmp_path_factory.mktemp("pacer"))


def machine(*speeds: float, all_bytes: float = 40e9) -> Machine:
    """Of cores whose speed is a part of the usual one."""
    return Machine(
        tuple(core_model.SPEED * speed for speed in speeds),
        core_bytes=12e9,
        all_bytes=all_bytes,
        barrier=core_model.barrier,
    )


def held(steps: Steps, *stolen: Stolen) -> Steps:
    return Steps(steps.products, steps.machine, stolen, steps.rows)


FAST = 200e9
TWO = Steps(SMALL, machine(1, 1))
SIXTEEN = Steps(LARGE, machine(*[1] * 16, all_bytes=FAST))
MIXED = machine(*[1] * 8, *[0.4] * 8)
SIXTY_FOUR = machine(*[1] * 64, all_bytes=FAST)
WIDE = Steps(LARGE, machine(*[1] * 64, all_bytes=800e9))
READING = Steps(core_model.reading(LARGE, 256), SIXTY_FOUR, rows=256)

CASES = {
    "2": TWO,
    "2, one half stolen": held(TWO, Stolen(1)),
    "2, one half stolen in long turns": held(TWO, Stolen(1, 0.5, 0.05)),
    "2, one mostly stolen": held(TWO, Stolen(1, 0.75, 0.009)),
    "2, rare long stalls": held(TWO, Stolen(1, 0.03, 0.025)),
    "2, one slower": Steps(SMALL, machine(1, 0.4)),
    "2, one far slower": Steps(SMALL, machine(1, 0.1)),
    "16, fast and slow": Steps(SMALL, MIXED),
    "16, fast and slow, large": Steps(LARGE, MIXED),
    "16, one half stolen": held(SIXTEEN, Stolen(15)),
    "16, two mostly stolen": held(SIXTEEN, Stolen(15, 0.75, 0.009), Stolen(14, 0.75, 0.009)),
    "64, small": Steps(SMALL, SIXTY_FOUR),
    "64, large": Steps(LARGE, SIXTY_FOUR),
    "64, slow memory": Steps(LARGE, machine(*[1] * 64)),
    "64, four half stolen": held(Steps(LARGE, SIXTY_FOUR), *(Stolen(63 - n) for n in range(4))),
    "64, reading": READING,
    "64, reading, one half stolen": held(READING, Stolen(63)),
}


@pytest.mark.parametrize("name", CASES)
def test_steps_take_at_most_15_percent_more_than_with_the_best_number(
    pacer: Make, name: str
) -> None:
    steps = CASES[name]
    best = steps.best()
    mine = pacer(steps.threads)
    mine.run(steps, 500)
    begin = steps.now
    mine.run(steps, 1000)
    assert (steps.now - begin) / 1000 <= 1.15 * best


@pytest.mark.parametrize("name", ["2", "16, fast and slow, large", "64, reading"])
def test_looking_for_a_better_number_costs_at_most_a_hundredth(pacer: Make, name: str) -> None:
    case = CASES[name]
    steps = Steps(case.products, case.machine, rows=case.rows, noise=0)
    best = min(steps.mean(n, 1) for n in range(1, steps.threads + 1))
    assert best == pytest.approx(steps.mean(steps.threads, 1), rel=0.05)
    begin, mine = steps.now, pacer(steps.threads)
    chosen = mine.run(steps, 3000)
    assert len(set(chosen)) > 1
    assert (steps.now - begin) / 3000 <= 1.01 * steps.mean(steps.threads, 1)


def test_threads_become_fewer_gradually(pacer: Make) -> None:
    steps = CASES["64, small"]
    chosen = pacer(64).run(steps, 2000)
    assert chosen[-1] < 32
    assert all(b >= a // 2 for a, b in pairwise(chosen))


CHANGES = {
    "2": (TWO, 1, 0.75, 1),
    "16, a quarter": (SIXTEEN, 4, 0.5, 12),
    "16, half": (SIXTEEN, 8, 0.75, 8),
    "64, half": (WIDE, 32, 0.75, 32),
}
"""Of a machine the cores that are stolen, how much of each, and how many threads are best then."""


def steps_until_near(mine: Pacer, steps: Steps, best: float, count: int) -> int:
    """Of ``count`` steps those before 32 times 32 in a row took at most 15 % more than ``best``."""
    times = []
    for _ in range(count):
        begin = steps.now
        mine.run(steps, 1)
        times.append(steps.now - begin)
    far = [n for n in range(count - 31) if sum(times[n : n + 32]) > 32 * 1.15 * best]
    return next((a + 1 for a, b in pairwise([-1, *far, count]) if b - a > 32), count)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("stolen_for", [200, 1000, 3000])
def test_the_best_number_is_found_again_after_cores_are_taken_and_after_they_are_free(
    pacer: Make, name: str, stolen_for: int
) -> None:
    free, cores, share, best = CHANGES[name]
    last = free.threads - 1
    taken = held(free, *(Stolen(last - n, share, 0.012 * share) for n in range(cores)))
    mine = pacer(free.threads)
    mine.run(free, 1000)
    assert steps_until_near(mine, taken, taken.mean(best), stolen_for) <= 150
    assert steps_until_near(mine, free, free.mean(free.threads), 1000) <= 400


@pytest.mark.parametrize("restless", [(0.2, 0.008), (0.3, 0.006), (0.25, 0.004)])
def test_a_core_that_is_taken_after_a_restless_time_is_left_as_soon(
    pacer: Make, restless: tuple[float, float]
) -> None:
    """Waits that were no reason for fewer threads do not hide those that are."""
    mine = pacer(2)
    mine.run(held(TWO, Stolen(1, *restless)), 2000)
    taken = held(TWO, Stolen(1, 0.75, 0.009))
    mine.run(taken, 400)
    assert taken.now / 400 <= 1.2 * held(TWO, *taken.stolen).mean(1)


def test_a_core_that_stays_stolen_costs_a_hundredth(pacer: Make) -> None:
    taken = held(TWO, Stolen(1, 0.75, 0.009))
    mine = pacer(2)
    assert mine.run(taken, 500)[-1] == 1
    begin = taken.now
    chosen = mine.run(taken, 5000)
    assert chosen.count(2) > 20
    assert (taken.now - begin) / 5000 <= 1.012 * taken.mean(1)


def test_one_disturbed_step_changes_nothing(pacer: Make) -> None:
    mine, calm = pacer(2), (0.005, 0.0)
    for seconds, waited in (calm, (0.030, 0.025), *[calm] * 20):
        assert mine.next() == 2
        mine.record(2, 1, seconds, waited)


def test_two_disturbed_steps_and_nothing_after_change_nothing(pacer: Make) -> None:
    mine = pacer(2)
    for seconds, waited in ((0.005, 0.0), (0.030, 0.025), (0.030, 0.025)):
        assert mine.next() == 2
        mine.record(2, 1, seconds, waited)
    tried = []
    for _ in range(40):
        tried.append(mine.next())
        mine.record(tried[-1], 1, 0.005 if tried[-1] == 2 else 0.009, 0.0)
    assert tried == [*[1] * 8, *[2] * 32]


def test_a_first_step_that_reads_from_disk_is_no_reason_for_fewer(pacer: Make) -> None:
    mine = pacer(2)
    for seconds, waited in ((0.9, 0.6), (0.8, 0.5)):
        assert mine.next(256) == 2
        mine.record(2, 256, seconds, waited)
    tried = []
    for _ in range(40):
        tried.append(mine.next(256))
        mine.record(tried[-1], 256, 0.15 if tried[-1] == 2 else 0.28, 0.0)
    assert tried == [*[1] * 8, *[2] * 32]


def test_steps_of_other_sizes_are_not_compared(pacer: Make) -> None:
    mine = pacer(2)
    disturbed = held(TWO, Stolen(1, 0.75, 0.009))
    mine.run(disturbed, 200)
    assert mine.next(1) == 1
    assert mine.next(256) == 2


def test_one_thread_is_one(pacer: Make) -> None:
    mine = pacer(1)
    for _ in range(1000):
        assert mine.next() == 1
        mine.record(1, 1, 0.005, 0.0)
