"""A part of the suite that runs in a second process, beside the rest.

Most tests keep one processor busy at most, and those of the native core need both for a moment.
Where the whole suite runs, the places of `BESIDE`, whose tests are content with one thread, run in
a process of their own with a low priority. The first process shows their results behind its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

BESIDE = (
    *("audio", "chat", "models/test_starter.py", "native/arm64", "native/test_sampling.py"),
    *("schemas", "tokenizer", "weights"),
)
"""Folders and files of tests/."""

WHOLE = 5000
"""Tests from which a run is the whole suite; of a part, all is over soon."""

REPORTS = "CACTUS_TEST_REPORTS"
"""The file into which the second process writes what came of its tests."""


def is_beside(item: pytest.Item) -> bool:
    """Whether the test may run in the second process."""
    return _place(item) > 0


def _place(item: pytest.Item) -> int:
    starts = (f"tests/{place}{'::' if place.endswith('.py') else '/'}" for place in BESIDE)
    return next((n for n, start in enumerate(starts, 1) if item.nodeid.startswith(start)), 0)


def split(session: pytest.Session) -> Beside | None:
    """The second process, where there is to be one; its tests become the last ones."""
    option = session.config.option
    if len(session.items) < WHOLE or REPORTS in os.environ or option.usepdb or option.collectonly:
        return None
    session.items.sort(key=_place)  # as the second process has them
    return Beside(session.config)


class Beside:
    """The second process, as the first one sees it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._folder = tempfile.TemporaryDirectory()
        written = Path(self._folder.name) / "reports"
        written.touch()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            # In the session of the tests: others are not behind them, whatever the priority.
            [
                *("nice", "-n", "5", sys.executable, "-m", "pytest", "-p", "no:cacheprovider"),
                *(f"tests/{place}" for place in BESIDE),
            ],
            cwd=ROOT,
            env=os.environ
            | {"CACTUS_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", REPORTS: str(written)},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        self._lines = written.open(encoding="utf-8")
        self._part = ""
        self._waiting: dict[str, deque[pytest.TestReport]] = {}
        self._told = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Show what came of a test of the second process, instead of running it."""
        if not is_beside(item):
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports(item):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_sessionfinish(self) -> None:
        """End it, if it runs."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # it ends what it began
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._lines.close()
        self._output.close()
        self._folder.cleanup()

    def _reports(self, item: pytest.Item) -> Iterator[pytest.TestReport]:
        """Those of a test, as they come; a failure, if the process ends without them."""
        while True:
            ended = self._process.poll() is not None
            self._read()
            found = self._waiting.setdefault(item.nodeid, deque())
            while found:
                report = found.popleft()
                yield report
                if report.when == "teardown":
                    return
            if ended:
                yield self._failure(item)
                return
            time.sleep(0.02)

    def _read(self) -> None:
        for text in self._lines:
            self._part += text
            if not text.endswith("\n"):
                return
            line, self._part = self._part, ""
            report = self._config.hook.pytest_report_from_serializable(
                config=self._config, data=json.loads(line)
            )
            self._waiting.setdefault(report.nodeid, deque()).append(report)

    def _failure(self, item: pytest.Item) -> pytest.TestReport:
        reason = f"the second process ended with {self._process.returncode}"
        if not self._told:
            self._output.seek(0)
            reason += f"\n{self._output.read().decode(errors='replace')[-5000:]}"
            self._told = True
        return pytest.TestReport(
            nodeid=item.nodeid,
            location=item.location,
            keywords={},
            outcome="failed",
            longrepr=reason,
            when="call",
        )


class Writer:
    """Writes the reports of the second process."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._file = open(os.environ[REPORTS], "a", encoding="utf-8", buffering=1)  # noqa: SIM115

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One line for each."""
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        self._file.write(json.dumps(data) + "\n")

    def pytest_unconfigure(self) -> None:
        """Close the file."""
        self._file.close()
