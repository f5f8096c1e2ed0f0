"""How rows are shared between engines that may be lost, in a time of its own: nothing waits."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from queue import Empty
from typing import Any

import pytest

from cactus.batch import pool as pools
from cactus.batch.pool import Done, Lost, Outcome, Pool
from cactus.batch.rows import Row
from cactus.errors import CactusError, InvalidRequest


class Time:
    """The clock of a simulation, and what a pool finds in it: events in their order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._found: list[Any] = []
        self._numbers = count()

    def clock(self) -> float:
        return self.now

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), act))

    def put(self, found: Any) -> None:
        self._found.append(found)

    def get(self, timeout: float) -> Any:
        end = self.now + timeout
        while not self._found:
            if not self._events or self._events[0][0] > end:
                self.now = end
                raise Empty
            self.now, _, act = heapq.heappop(self._events)
            act()
        return self._found.pop(0)


class Engine:
    """One whose rows take so many seconds each, and whose blocks `cost` so many to pass on."""

    def __init__(self, cluster: Cluster, seconds: float) -> None:
        self.cluster, self.seconds = cluster, seconds
        self.free = 0.0
        self.rows: list[int] = []
        self.alive = True

    def give(self, rows: list[Row] | None, tell: Callable[[Outcome], None]) -> None:
        cluster = self.cluster
        now = cluster.time.now
        if rows is None:
            cluster.time.later(cluster.start, lambda: tell(Done([], 0.0)))
            return
        cluster.blocks.append([row.index for row in rows])
        took = self.seconds * len(rows)
        self.free = max(now + cluster.cost, self.free) + took

        def answer() -> None:
            if self.alive:
                self.rows += [row.index for row in rows]
                lines = [(r.index, r.wrong is not None, (r.wrong or "").encode()) for r in rows]
                tell(Done(lines, took))

        def end() -> None:
            if not self.alive:
                return
            if any(cluster.deadly(row) for row in rows):
                self.alive = False
                cluster.lost += 1
                tell(Lost("its node has failed"))
            elif cluster.answer:
                cluster.time.later(cluster.answer, answer)
            else:
                answer()

        cluster.time.later(self.free - now, end)

    def end(self) -> None:
        self.alive = False


class Cluster:
    """Engines of the seconds that are given, over and over."""

    def __init__(self, *seconds: float, cost: float = 0.0, start: float = 3.0) -> None:
        self.time = Time()
        self.seconds, self.cost, self.start = seconds, cost, start
        self.room = len(seconds)
        self.answer = 0.0
        """The seconds that an answer takes, in which the engine has begun with the next block."""
        self.engines: list[Engine] = []
        self.blocks: list[list[int]] = []
        """The rows of each that was given to an engine."""
        self.lost = 0
        self.deadly: Callable[[Row], bool] = lambda row: False

    def begin(self) -> Engine:
        self.engines.append(Engine(self, self.seconds[len(self.engines) % len(self.seconds)]))
        return self.engines[-1]

    @property
    def sizes(self) -> list[int]:
        return list(map(len, self.blocks))

    def lines(self, total: int, rows: Iterator[Row] | None = None) -> Iterator[Any]:
        given = (Row(n, f"in, line {n + 1}") for n in range(total)) if rows is None else rows
        pool = Pool(self.begin, lambda: self.room, self.time.clock, self.time)  # type: ignore[arg-type]
        return pool.lines(given, total)

    def done(self, total: int) -> dict[int, str]:
        """What is wrong with each row, each of which is there once."""
        found = list(self.lines(total))
        assert Counter(line[0] for line in found) == Counter(range(total))
        return {index: line.decode() for index, wrong, line in found if wrong}


@pytest.mark.parametrize("engines", [1, 4, 64, 1000])
def test_engines_are_busy_nearly_all_the_time(engines: int) -> None:
    cluster = Cluster(*[1 / 8] * engines, cost=0.25)
    rows = 8 * 60 * engines  # a minute of each
    assert cluster.done(rows) == {}
    busy = rows / 8 / engines / (cluster.time.now - cluster.start)
    assert busy > 0.95


def test_faster_engines_do_more_and_all_end_together() -> None:
    cluster = Cluster(1 / 8, 1 / 8, 1 / 2, 2)
    assert cluster.done(8000) == {}
    counts = [len(engine.rows) for engine in cluster.engines]
    speed = 8 + 8 + 2 + 1 / 2
    for engine, found in zip(cluster.engines, counts, strict=True):
        assert found == pytest.approx(8000 / engine.seconds / speed, rel=0.1)
    ideal = 8000 / speed
    assert cluster.time.now - cluster.start < 1.05 * ideal


def test_a_block_takes_some_seconds_whatever_a_row_takes() -> None:
    slow, quick = Cluster(4.0, 4.0), Cluster(0.001, 0.001)
    assert slow.done(1000) == {} and quick.done(100_000) == {}
    assert max(slow.sizes[4:]) == pools.SECONDS / 4
    assert max(quick.sizes) == pools.MOST


def test_only_what_engines_have_room_for_is_read() -> None:
    cluster = Cluster(1 / 8, 1 / 8)
    read = 0

    def endless() -> Iterator[Row]:
        nonlocal read
        for n in count():
            read += 1
            yield Row(n, "")

    lines = cluster.lines(10**9, endless())
    for done in range(20_000):
        next(lines)
        # A block that is being told, and those that engines have.
        assert read - done <= (1 + pools.AHEAD * 2) * pools.GROWTH * pools.FIRST
    lines.close()


def test_long_texts_make_small_blocks() -> None:
    cluster = Cluster(1e-6)
    rows = (Row(n, "", {"text": "x" * (1 << 20)}) for n in range(100))
    assert len(list(cluster.lines(100, rows))) == 100
    assert max(cluster.sizes) == pools.LETTERS >> 20


def test_rows_that_end_their_engines_become_errors_alone() -> None:
    cluster = Cluster(*[1 / 8] * 4)
    cluster.deadly = lambda row: row.index in (5, 700) and row.wrong is None
    wrong = "the engine that did this row was lost 2 times: its node has failed"
    assert cluster.done(2000) == {5: wrong, 700: wrong}
    assert cluster.lost <= 2 * (pools.TRIES + 6 + pools.ALONE)


def test_a_row_is_no_error_where_the_next_one_ends_its_engine() -> None:
    cluster = Cluster(*[1 / 8] * 4)
    cluster.answer = 1.0  # longer than a row takes: it is lost with the engine
    cluster.deadly = lambda row: row.index in (150, 1999) and row.wrong is None
    assert list(cluster.done(2000)) == [150, 1999]


def test_an_engine_that_is_lost_once_costs_nothing_but_its_block() -> None:
    cluster = Cluster(*[1 / 8] * 4)
    cluster.deadly = lambda row: row.index == 300 and not cluster.lost
    assert cluster.done(2000) == {}
    assert cluster.lost == 1 and len(cluster.engines) == 5
    assert sum(cluster.sizes) - 2000 <= pools.AHEAD * pools.FIRST


def test_what_only_waited_for_a_lost_engine_is_not_halved() -> None:
    cluster = Cluster(1 / 8)
    cluster.deadly = lambda row: row.index == 0 and row.wrong is None
    assert list(cluster.done(128)) == [0]
    waited = [block for block in cluster.blocks if 64 in block]
    assert len(waited) > 1 and len(waited[0]) == 32
    assert all(block == waited[0] for block in waited)


def test_engines_that_are_all_lost_end_the_work() -> None:
    cluster = Cluster(1 / 8)
    cluster.deadly = lambda row: True
    with pytest.raises(CactusError, match="21 engines were lost in a row, what is done"):
        cluster.done(2000)


def test_a_cluster_without_room_ends_the_work() -> None:
    cluster = Cluster(1 / 8)
    cluster.start = 1e9
    with pytest.raises(CactusError, match="no engine was ready for 30 minutes"):
        cluster.done(10)


def test_what_is_wrong_with_the_work_is_raised_and_engines_end() -> None:
    cluster = Cluster(1 / 8, 1 / 8)

    class Wrong(Engine):
        def give(self, rows: list[Row] | None, tell: Callable[[Outcome], None]) -> None:
            if rows is None:
                tell(InvalidRequest("max_tokens must be positive"))

    def begin() -> Engine:
        cluster.engines.append(Wrong(cluster, 1.0))
        return cluster.engines[-1]

    cluster.begin = begin  # type: ignore[method-assign]
    with pytest.raises(InvalidRequest, match="max_tokens must be positive"):
        cluster.done(10)
    assert [engine.alive for engine in cluster.engines] == [False, False]


def test_a_node_that_comes_later_gets_its_share() -> None:
    cluster = Cluster(1 / 8, 1 / 8)
    cluster.room = 1
    cluster.time.later(100, lambda: setattr(cluster, "room", 2))
    assert cluster.done(8 * 300) == {}
    first, second = (len(engine.rows) for engine in cluster.engines)
    assert first == pytest.approx(8 * 200, rel=0.1) and second == pytest.approx(8 * 100, rel=0.1)


def test_what_is_lost_at_the_end_needs_one_engine() -> None:
    cluster = Cluster(*[1 / 8] * 8)
    cluster.deadly = lambda row: row.index == 1999 and not cluster.lost
    assert cluster.done(2000) == {}
    assert len(cluster.engines) <= 9


def test_engines_end_when_nothing_is_left_for_them() -> None:
    cluster = Cluster(*[1 / 8] * 8)
    lines = cluster.lines(2000)
    alive = [sum(engine.alive for engine in cluster.engines) for _ in lines]
    assert alive[0] == 8 and alive[-1] < 8
    assert not any(engine.alive for engine in cluster.engines)
