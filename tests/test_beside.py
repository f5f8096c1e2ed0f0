"""The second process of the suite: its results are shown as if there were one process."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.beside import ROOT

RUN = """
import json, os, sys
import pytest
from tests import beside

class Watch:
    found = []
    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session):
        self.count = len(session.items)
        os.environ["PYTEST_ADDOPTS"] = sys.argv[1]
    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            self.found.append((report.nodeid.split("::")[0], report.outcome))

beside.WHOLE, beside.BESIDE = 1, ("calls/test_stopwatch.py",)
watch = Watch()
files = ["tests/calls/test_stopwatch.py", "tests/calls/test_run.py"]
status = pytest.main(["-p", "no:cacheprovider", *files], [watch])
print()
print(json.dumps([int(status), watch.count, watch.found]))
"""
HERE, BESIDE = "tests/calls/test_run.py", "tests/calls/test_stopwatch.py"


def run(options: str) -> tuple[int, int, list[list[str]]]:
    """The status, how many tests there are, and for each its file and outcome."""
    command = [sys.executable, "-c", RUN, options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    status, count, found = json.loads(done.stdout.splitlines()[-1])
    return status, count, found


def test_each_test_of_the_second_process_has_its_result() -> None:
    status, count, found = run("")
    assert (status, len(found)) == (0, count)
    assert {outcome for _, outcome in found} == {"passed"}
    files = [file for file, _ in found]
    assert set(files) == {HERE, BESIDE} and files == sorted(files, key=BESIDE.__eq__)


def test_no_test_passes_because_the_second_process_died() -> None:
    status, count, found = run("--no-such-option")
    assert (status, len(found)) == (1, count)
    assert set(map(tuple, found)) == {(HERE, "passed"), (BESIDE, "failed")}
