"""A short form of the soak: nothing fails without a word, and what is asked again is the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.background import ROOT, Command

OUTPUT = ROOT / "build" / "soak-short.jsonl"
SOAK = Command(
    *(sys.executable, "tools/soak", "--output", str(OUTPUT), "--rounds", "4", "--requests", "480"),
    *("--loads", "20", "--indexings", "8", "--transcriptions", "8", "--seconds", "20"),
    *("--faults", "2", "--idle", "100", "--slow", "4"),
)
HERE = sys.platform == "linux"
BACKGROUND = [SOAK] if HERE else []


@pytest.mark.fault("F59", "F60", "F62", "F64", "F65", "F66")
@pytest.mark.skipif(not HERE, reason="faults of files are those of Linux")
def test_a_short_soak_ends_well_and_its_picture_has_its_curves(tmp_path: Path) -> None:
    SOAK.succeed()
    rows = [json.loads(line) for line in OUTPUT.read_text().splitlines()]
    summary = rows.pop()
    assert [row["round"] for row in rows] == list(range(4))
    assert (summary["wrong"], summary["grown"]) == ({}, [])
    assert all(summary["injected"][kind] for kind in ("EIO", "EINTR", "short"))
    assert summary["refused"], "no fault has got through"
    drawn = [*("--output", str(OUTPUT)), *("--draw", str(tmp_path / "soak.svg"))]
    subprocess.run([sys.executable, "tools/soak", *drawn], cwd=ROOT, check=True)
    assert (tmp_path / "soak.svg").read_text().count("<polyline") == 10


def test_what_grows_is_found(tool: Any) -> None:
    grown = tool("soak.watch").grown
    flat = [100, *[110] * 19]
    assert not grown(flat) and not grown([*flat[:-2], 100, 90])
    assert grown([*flat[:-2], 117, 117]) and not grown([*flat[:-2], 115, 115])
    assert grown([0] * 19 + [1]) and not grown([1, 0, 0, 0])


def test_a_process_that_ends_is_said(tool: Any, tmp_path: Path) -> None:
    run, faults = tool("soak.run"), tool("soak.faults").Faults(tmp_path / "faults")
    made = tool("soak.made").Made(tmp_path / "nothing")
    worker = run.Worker(made, faults, {})
    with pytest.raises(EOFError, match="the process of the library ended with 1"):
        worker.round({})
    worker.process.communicate()
