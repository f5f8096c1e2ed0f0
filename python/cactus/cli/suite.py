"""How the test suite is getting on: a pytest plugin that ``cactus test`` loads.

A terminal has a line that says how many tests are done, how long the rest will take and which one
is running; elsewhere a line comes twice a minute. A test that fails is named at once.
"""

from __future__ import annotations

import os
import sys
import time

import pytest

from cactus.cli.status_line import time_of
from cactus.cli.text import is_terminal

CACHE = "cactus/durations"
EVERY = 30.0
"""Seconds between two lines where there is no terminal."""


EARLY = 5.0
"""Seconds after which an estimate is worth something."""


class Estimate:
    """Seconds that the rest takes, from what tests took last time and how this run compares."""

    def __init__(self, known: dict[str, float], waiting: list[str]) -> None:
        usual = sorted(known.values())
        # Most tests are short: what is not known is taken for a usual one, not for the mean.
        guess = usual[len(usual) // 2] if usual else 1.0
        self._expected = {test: known.get(test, guess) for test in waiting}
        self._left = sum(self._expected.values())
        self._all = self._left

    def done(self, test: str) -> None:
        """A test has ended."""
        self._left -= self._expected.pop(test, 0.0)

    def seconds(self, elapsed: float) -> float | None:
        """What the rest takes, `elapsed` seconds after the start; None while it is too early."""
        past = self._all - self._left
        if past <= 0 or elapsed < EARLY:
            return None
        return max(0.0, self._left) * elapsed / past


class Report:
    """Shows where the run is."""

    def __init__(self, config: pytest.Config) -> None:
        assert config.cache is not None
        self._cache = config.cache
        self._terminal = is_terminal(sys.stdout)
        self._known: dict[str, float] = self._cache.get(CACHE, {})
        self._took: dict[str, float] = {}
        self._began = self._told = time.monotonic()
        self._count = self._done = self._failed = 0

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._collected([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: list[str]) -> None:
        """Where the tests run in several processes, each of these has found the same ones."""
        if not self._count:
            self._collected(ids)

    def _collected(self, tests: list[str]) -> None:
        self._count = len(tests)
        self._estimate = Estimate(self._known, tests)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Without the letters that pytest shows: the line says it, and failures have names."""
        if report.when == "call" and report.passed and not hasattr(report, "wasxfail"):
            return "passed", "", ""
        if report.failed:
            kind = "failed" if report.when == "call" else "error"
            return kind, "", kind.upper()
        return None

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self._terminal:
            self._show(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test = report.nodeid
        self._took[test] = self._took.get(test, 0.0) + report.duration
        if report.failed:
            self._failed += 1
            clear = "\r\x1b[K" if self._terminal else ""
            print(f"{clear}FAILED {test}", flush=True)
        if report.when != "teardown":
            return
        self._done += 1
        self._estimate.done(test)
        now = time.monotonic()
        if not self._terminal and now - self._told >= EVERY:
            self._told = now
            print(self._line(), flush=True)

    def pytest_sessionfinish(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", flush=True)
        self._cache.set(CACHE, {**self._known, **self._took})

    def _line(self) -> str:
        elapsed = time.monotonic() - self._began
        left = self._estimate.seconds(elapsed)
        line = f"{self._done}/{self._count} tests, {time_of(elapsed)}"
        if left is not None:
            line += f", about {time_of(left)} left"
        return line + (f", {self._failed} failed" if self._failed else "")

    def _show(self, test: str) -> None:
        columns = os.get_terminal_size(sys.stdout.fileno()).columns or 80
        line = f"{self._line()}  {test.removeprefix('tests/')}"
        print(f"\r\x1b[K{line[: columns - 3]}", end="", flush=True)


def pytest_configure(config: pytest.Config) -> None:
    # A worker of pytest-xdist has nothing to show; pytest shows lines of its own unless it is -q.
    if config.option.verbose < 0 and hasattr(config, "cache"):
        config.pluginmanager.register(Report(config), "cactus-report")
