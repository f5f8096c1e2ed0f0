"""What passing on blocks costs engines of a cluster: `tools/check_ray.py --overhead`."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cactus import batch
from tests.batch.deadly import Slow

JOB = {"job": "chat", "prompt": "{text}"}
ROWS = 64
"""Of a block."""
BLOCKS = 8
"""Of an engine."""
UNEQUAL_ROWS = 8000
BETWEEN = 0.02
"""Seconds between the lines of one block and those of the next, at least."""

Span = tuple[float, float]


def spans(source: Path, output: Path, model: Path, rows: list[float]) -> dict[int, list[Span]]:
    """When each engine was at a row, of rows that take so many seconds."""
    source.write_text("".join(json.dumps({"text": "", "seconds": each}) + "\n" for each in rows))
    with patch("cactus.batch.run.Task", Slow):
        batch.run(
            JOB, source, output, model=model, ray="auto", threads=1, restart=True, progress=False
        )
    found: dict[int, list[Span]] = defaultdict(list)
    lines = output.read_text().splitlines()
    assert len(lines) == len(rows)
    for line in lines:
        process, began, ended = json.loads(line)["answer"][:3]
        found[process].append((began, ended))
    return {process: sorted(each) for process, each in found.items()}


def efficiency(found: dict[int, list[Span]]) -> tuple[float, float]:
    """The part of the time that engines are at rows: while all of them are there, and to the end.

    The first is what passing on blocks leaves; the second has the end, too, where some have
    nothing more to do. The start of Ray and of engines, which is once a job, is in neither.
    """
    first = max(each[0][0] for each in found.values())
    there = min(each[-1][1] for each in found.values())
    end = max(each[-1][1] for each in found.values())
    return _part(found, first, there), _part(found, first, end)


def _part(found: dict[int, list[Span]], first: float, last: float) -> float:
    busy = sum(
        max(0.0, min(ended, last) - max(began, first))
        for each in found.values()
        for began, ended in each
    )
    return busy / (len(found) * (last - first))


def overhead(folder: Path, model: Path, engines: int) -> list[str]:
    """Lines of a table: the efficiency with blocks of some seconds, on a cluster with room."""
    table = []
    for seconds in (0.5, 2, 8):
        rows = [seconds / ROWS] * (ROWS * BLOCKS * engines)
        began = time.monotonic()
        with patch("cactus.batch.pool.SECONDS", seconds):
            found = spans(folder / "slow.jsonl", folder / "slow-out.jsonl", model, rows)
        took = time.monotonic() - began
        while_all, whole = efficiency(found)
        table.append(
            f"{len(found):3} of {engines} engines, blocks of {seconds:3} s: {while_all:6.1%} while "
            f"all are there, {whole:6.1%} to the end ({took:.0f} s with the start)"
        )
        print(table[-1], flush=True)
    return table


def unequal(folder: Path, model: Path, add: Callable[[], Any]) -> list[str]:
    """Lines of a table: the rows of each engine where some are slower, and one comes later."""
    output = folder / "unequal-out.jsonl"

    with (
        patch("cactus.batch.pool.SECONDS", 2.0),
        ThreadPoolExecutor(1) as executor,  # a node has to be begun in the main thread
    ):
        job = executor.submit(
            spans, folder / "unequal.jsonl", output, model, [1 / 32] * UNEQUAL_ROWS
        )
        while not output.exists() or output.read_bytes().count(b"\n") < UNEQUAL_ROWS // 4:
            time.sleep(0.05)
        add()
        found = job.result()
    begins = min(each[0][0] for each in found.values())
    ends = [each[-1][1] for each in found.values()]
    table = []
    for each in sorted(found.values(), key=lambda each: each[0][0]):
        rate = len(each) / (each[-1][1] - each[0][0])
        table.append(
            f"    an engine that begins after {each[0][0] - begins:5.1f} s: {len(each):5} rows, "
            f"{rate:5.1f} a second; ends {max(ends) - each[-1][1]:.1f} s before the last"
        )
    return [f"engines of other speed: {efficiency(found)[1]:.1%} to the end", *table]


def driver(folder: Path, model: Path, rows: int = 10_000) -> list[str]:
    """Lines of a table: what a row takes of a core where the job is, however fast engines are."""
    table = []
    for numbers in (0, 384):
        row = json.dumps({"text": "some words " * 20, "seconds": 0, "numbers": numbers})
        (folder / "driver.jsonl").write_text(f"{row}\n" * rows)
        for output in ("driver-out.jsonl", "driver-out.parquet/"):
            began = time.process_time()
            with patch("cactus.batch.run.Task", Slow):
                batch.run(
                    JOB,
                    folder / "driver.jsonl",
                    f"{folder}/{output}",
                    model=model,
                    ray="auto",
                    threads=1,
                    restart=True,
                    progress=False,
                )
            took = (time.process_time() - began) / rows
            table.append(
                f"a row of 220 letters, an answer of {numbers + 3} numbers, {output:20} "
                f"{took * 1e6:.0f} us of the driver"
            )
            print(table[-1], flush=True)
    return table


def linear(
    folder: Path,
    model: Path,
    source: Path,
    job: dict[str, Any],
    nodes: Callable[[int], AbstractContextManager[Any]],
) -> list[str]:
    """Lines of a table: what two do of one thread each, and one, of processes and of nodes."""
    rates: dict[str, list[float]] = {"processes": [], "nodes": []}
    for count in (1, 2):
        rates["processes"].append(_rate(folder, model, source, job, workers=count))
        with nodes(count):
            rates["nodes"].append(_rate(folder, model, source, job, ray="auto"))
    table = [
        f"{kind} of one thread: one {one:.1f} rows/s, two {two:.1f}, {two / one:.2f} times as many"
        for kind, (one, two) in rates.items()
    ]
    print("\n".join(table), flush=True)
    return table


def _rate(folder: Path, model: Path, source: Path, job: dict[str, Any], **who: Any) -> float:
    """The rows a second of a job behind its first quarter, when all who do it have begun.

    Rows come as blocks: it is measured from the end of one on.
    """
    told: list[tuple[float, int]] = []
    with patch("cactus.batch.pool.SECONDS", 1.0):
        batch.run(
            job,
            source,
            folder / "linear.jsonl",
            model=model,
            threads=1,
            restart=True,
            progress=lambda label, done, total: told.append((time.monotonic(), done)),
            **who,
        )
    ended, rows = told[-1]
    told = [each for each in told if each[1] >= rows / 4]
    between = (one for one, after in pairwise(told) if after[0] - one[0] > BETWEEN)
    began, first = next(between, told[0])
    return (rows - first) / (ended - began)
