"""A short run of all fuzzers and of what they keep; CACTUS_FUZZ_CASES makes it longer.

The cases are the same in every run: what chance finds is for tools/fuzz.py, not for a change that
has nothing to do with it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.background import ROOT, Command

sys.path.insert(0, str(ROOT / "tools"))
from fuzzers import NAMES
from fuzzers.base import Case, pack, unpack

CASES = os.environ.get("CACTUS_FUZZ_CASES", "10")
SEED = os.environ.get("CACTUS_FUZZ_SEED", "1")
FUZZ = Command(sys.executable, "tools/fuzz.py", "--cases", CASES, "--seed", SEED)
BACKGROUND = [FUZZ]

BOTH = (
    *("weights", "plans", "images", "audio", "documents", "templates", "grammars", "folders"),
    "servers",
)
"""Fuzzers of which some cases are accepted, and others refused with an error."""


@pytest.mark.fault("F01", "F13", "F40")
@pytest.mark.parametrize("name", NAMES)
def test_what_a_fuzzer_makes_ends_as_it_is_promised(name: str) -> None:
    printed = FUZZ.succeed()
    found = re.search(rf"^{name}: (\d+) cases .* 0 findings", printed, re.MULTILINE)
    assert found and int(found[1]) >= int(CASES), printed
    # Some have to get through, or it proves nothing about what lies behind the first check.
    ends = set(re.findall(r"^ +\d+ \w+: (\w+)$", printed.partition(found[0])[2], re.MULTILINE))
    assert "accepted" in ends and (name not in BOTH or len(ends) > 1)


def test_a_case_is_kept_with_its_kind_and_comes_back_the_same(tmp_path: Path) -> None:
    case = Case("tool_call", pack({"a": b"1", "b.json": b"{}"}))
    path = tmp_path / case.name
    path.write_bytes(case.data)
    assert Case.read(path) == case
    assert unpack(case.data) == {"a": b"1", "b.json": b"{}"}


TOY = """
import os, time
from fuzzers.base import Case, Fuzzer

class Fuzz(Fuzzer):
    errors = (ValueError,)
    cpu_seconds = 0.2
    growth = 1 << 20

    def __init__(self, scratch):
        self.kept = []

    def make(self, rng):
        return Case("KIND" if rng.random() < 0.2 else rng.choice(("right", "wrong")), b"x")

    def run(self, case):
        if case.kind == "wrong":
            raise ValueError("as it is promised")
        if case.kind == "unknown":
            raise KeyError("nobody said so")
        if case.kind == "crash":
            os.abort()
        end = time.process_time() + 0.25
        while case.kind == "slow" and time.process_time() < end:
            pass
        if case.kind == "leak":
            self.kept.append(bytes(1 << 14))
"""


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("unknown", "KeyError: 'nobody said so'"),
        ("crash", "its process ended by SIGABRT"),
        ("slow", "s of processor time"),
        ("leak", "more bytes after"),
    ],
)
def test_whatever_a_case_does_to_its_process_is_found_once(
    tmp_path: Path, kind: str, said: str
) -> None:
    toy = tmp_path / "toy.py"
    toy.write_text(TOY.replace("KIND", kind))
    command = [sys.executable, "tools/fuzz.py", str(toy), "--keep", str(tmp_path)]
    command += ["--cases", "2000" if kind == "leak" else "20"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 1 and "1 findings" in ran.stdout, ran.stdout
    (text,) = (tmp_path / "toy").glob("*.txt")
    assert said in text.read_text()
    if kind != "leak":  # which takes more than one case
        again = subprocess.run([*command, "--replay", str(text.with_suffix(""))], cwd=ROOT)
        assert again.returncode == 1
