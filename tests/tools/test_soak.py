"""A short form of the soak: nothing fails without a word, and what is asked again is the same."""

from __future__ import annotations

import json
import os
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
    for row in rows:
        for process in (row["library"], row["server"]):
            assert 0 < process["in use"] < process["in use"] + process["kept"]
            assert process["huge pages"] <= process["anonymous memory"] <= process["memory"]
    assert all(summary["injected"][kind] for kind in ("EIO", "EINTR", "short"))
    assert summary["refused"], "no fault has got through"
    drawn = [*("--output", str(OUTPUT)), *("--draw", str(tmp_path / "soak.svg"))]
    subprocess.run([sys.executable, "tools/soak", *drawn], cwd=ROOT, check=True)
    assert (tmp_path / "soak.svg").read_text().count("<polyline") == 12


def test_what_grows_is_found(tool: Any) -> None:
    grown = tool("soak.watch").grown
    flat = [100, *[110] * 19]
    assert not grown(flat) and not grown([*flat[:-2], 100, 90])
    assert grown([*flat[:-2], 117, 117]) and not grown([*flat[:-2], 115, 115])
    assert grown([*flat[:-2], 112, 112], 0.01) and not grown([*flat[:-2], 111, 111], 0.01)
    assert grown([0] * 19 + [1]) and not grown([1, 0, 0, 0])


def test_a_process_that_ends_is_said(tool: Any, tmp_path: Path) -> None:
    run, faults = tool("soak.run"), tool("soak.faults").Faults(tmp_path / "faults")
    made = tool("soak.made").Made(tmp_path / "nothing")
    worker = run.Worker(made, faults, {})
    with pytest.raises(EOFError, match="the process of the library ended with 1"):
        worker.round({})
    worker.process.communicate()


HEAP = """
import sys, time
kept = {"bytes": [bytes(1 << 20) for _ in range(9)], "objects": [str(n) for n in range(1 << 16)]}
spare = [bytes(60_000) for _ in range(100)]
for line in sys.stdin:  # what to let go of
    if line.strip() == "spare":
        del spare[:-1]  # which is above the others: malloc has to keep their places
    elif line.strip():
        kept[line.strip()].clear()
    time.monotonic()
    print(flush=True)
"""


@pytest.mark.skipif(not HERE, reason="the figures are those of glibc")
def test_a_process_says_what_its_heap_has_in_use_and_what_it_keeps(
    tool: Any, tmp_path: Path
) -> None:
    module = tool("soak.faults")
    faults = module.Faults(tmp_path / "faults")
    environment = os.environ | faults.environment(module.build(tmp_path / "faults.so"), tmp_path)
    command = [sys.executable, "-c", HEAP]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:

        def let_go(what: str = "") -> None:
            process.stdin.write(what + "\n")
            process.stdin.flush()
            process.stdout.readline()

        def heap(without: str = "") -> dict[str, int]:
            let_go(without)
            return faults.heap(process.pid, let_go)

        begun = heap()
        without_bytes, without_objects, without_spare = map(heap, ("bytes", "objects", "spare"))
        process.stdin.close()
    assert 9 << 20 <= begun["in use"] - without_bytes["in use"] < 10 << 20
    for what in ("in use", "of Python"):
        objects = without_bytes[what] - without_objects[what]
        assert objects >= (1 << 16) * sys.getsizeof("10000")
    assert without_objects["in use"] - without_spare["in use"] >= 99 * 60_000
    assert without_spare["kept"] - without_objects["kept"] >= 99 * 60_000


def test_a_process_that_does_not_say_what_its_heap_is(
    tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tool("soak.faults")
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    with pytest.raises(TimeoutError, match="process 1 has not said what its heap is"):
        module.Faults(tmp_path / "faults").heap(1, list)
