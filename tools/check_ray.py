"""Jobs on a cluster of four node processes: equal to one machine's, whatever is killed.

PYTHONPATH=. python tools/check_ray.py [MODEL]         all of it, with a model; needs cactus[ray]
PYTHONPATH=. python tools/check_ray.py --overhead      what blocks cost, with rows that only wait

Without MODEL, a random one that loads at once. The exit status is 1 where an output is another.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import ray
from ray.cluster_utils import Cluster

from cactus import batch
from cactus.batch.run import Task as Usual
from tests.batch.deadly import Deadly, Slow

JOB = {"job": "chat", "prompt": "Say {text}.", "options": {"max_tokens": 6, "seed": 3}}
ROWS = 2000
DRIVER = """
import sys
from cactus import batch
batch.run({job!r}, sys.argv[1], sys.argv[2], model=sys.argv[3], ray="auto", threads=1)
"""


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--overhead", action="store_true")
    parser.add_argument("--engines", type=int, nargs="+", default=[1, 4, 16, 64])
    given = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory(prefix="cactus-ray-") as home:
        folder = Path(home)
        model = given.model or _tiny(folder)
        if given.overhead:
            for engines in given.engines:
                _overhead(folder, model, engines)
            return 0
        return _kills(folder, model)


def _tiny(folder: Path) -> Path:
    from cactus.weights.convert import convert
    from tests.conftest import write_tiny_checkpoint

    (folder / "checkpoint").mkdir()
    write_tiny_checkpoint(folder / "checkpoint")
    convert(folder / "checkpoint", folder / "tiny", "INT8")
    return folder / "tiny"


def _cluster(nodes: int, cpus: int = 1) -> tuple[Cluster, list[Any]]:
    """A head without CPUs, on which the driver is, and nodes with some."""
    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 100 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    workers = [cluster.add_node(num_cpus=cpus, object_store_memory=100 << 20) for _ in range(nodes)]
    cluster.wait_for_nodes()
    ray.init(cluster.address, log_to_driver=False, logging_level="ERROR")
    return cluster, workers


def _kills(folder: Path, model: Path) -> int:
    source, whole = folder / "in.jsonl", folder / "whole.jsonl"
    source.write_text(
        "".join(json.dumps({"text": f"row {n} {'and on ' * (n % 4)}"}) + "\n" for n in range(ROWS))
    )
    batch.run(JOB, source, whole, model=model, threads=1, progress=False)
    wanted, wrong = _rows(whole), 0
    cluster, workers = _cluster(4)
    try:
        wrong += _compare("four nodes", _run(source, folder / "nodes.jsonl", model), wanted)
        output = folder / "killed.jsonl"
        _when(output, ROWS // 4, lambda: cluster.remove_node(workers.pop(), allow_graceful=False))
        wrong += _compare("a node killed", _run(source, output, model), wanted)
        cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
        wrong += _compare("the driver killed", _drivers(folder, source, model, cluster), wanted)
        wrong += _poison(folder, model)
    finally:
        ray.shutdown()
        cluster.shutdown()
    return int(wrong > 0)


def _run(source: Path, output: Path, model: Path) -> Path:
    began = time.monotonic()
    batch.run(JOB, source, output, model=model, ray="auto", threads=1, progress=False)
    print(f"  {time.monotonic() - began:.1f} s", flush=True)
    return output


def _when(output: Path, rows: int, act: Callable[[], Any]) -> None:
    """Do something as soon as so many rows are written."""
    from threading import Thread

    def wait() -> None:
        while not output.exists() or output.read_bytes().count(b"\n") < rows:
            time.sleep(0.01)
        act()

    Thread(target=wait, daemon=True).start()


def _drivers(folder: Path, source: Path, model: Path, cluster: Cluster) -> Path:
    """The output of drivers of which five are killed at random points."""
    output, code = folder / "drivers.jsonl", DRIVER.format(job=JOB)
    arguments = [sys.executable, "-c", code, *map(str, (source, output, model))]
    environment = {**os.environ, "RAY_ADDRESS": cluster.address}
    points = [*sorted(random.Random(1).sample(range(ROWS), 5)), None]
    for point in points:
        driver = subprocess.Popen(arguments, env=environment)
        while driver.poll() is None:
            written = output.read_bytes().count(b"\n") if output.exists() else 0
            if point is not None and written >= point:
                driver.send_signal(signal.SIGKILL)
                driver.wait()
                print(f"  killed at {written} rows", flush=True)
            time.sleep(0.005)
        if point is None and driver.returncode:
            print(f"  the last driver ended with {driver.returncode}")
    return output


def _poison(folder: Path, model: Path) -> int:
    """Two rows kill whoever does them."""
    source, output = folder / "poison.jsonl", folder / "poisoned.jsonl"
    rows = [{"text": f"row {n}", "deadly": n in (70, 333)} for n in range(400)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with patch("cactus.batch.run.Task", Deadly):
        _run(source, output, model)
    batch.run(JOB, source, folder / "sound.jsonl", model=model, threads=1, progress=False)
    wanted = _rows(folder / "sound.jsonl")
    found = _rows(output)
    bad = [row for row in found if row["error"]]
    for row in bad:
        print(f"  {row['index']}: {row['error']}")
    same = [row for row in found if not row["error"]] == [
        row for row in wanted if row["index"] not in (70, 333)
    ]
    good = same and [row["index"] for row in bad] == [70, 333]
    print("poison rows:", "alone" if good else "WRONG", flush=True)
    return int(not good)


def _rows(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text("utf-8").splitlines()
    return sorted(map(json.loads, lines), key=lambda row: row["index"])


def _compare(name: str, output: Path, wanted: list[dict[str, Any]]) -> int:
    same = _rows(output) == wanted
    print(f"{name}: {'equal' if same else 'ANOTHER OUTPUT'}", flush=True)
    return int(not same)


def _overhead(folder: Path, model: Path, engines: int) -> None:
    """The part of the time in which engines work, each with blocks of so many seconds."""
    cluster, _ = _cluster(1, engines)
    try:
        for seconds in (1, 8, 32):
            source, output = folder / "slow.jsonl", folder / "slow-out.jsonl"
            blocks = 4 * engines
            row = json.dumps({"text": "", "seconds": seconds / 64})
            source.write_text(f"{row}\n" * (64 * blocks))
            stamps: list[float] = []

            def told(label: str, done: int, total: int, stamps: list[float] = stamps) -> None:
                stamps.append(time.monotonic())

            with patch("cactus.batch.run.Task", Slow):
                batch.run(
                    JOB,
                    source,
                    output,
                    model=model,
                    ray="auto",
                    threads=1,
                    progress=told,
                    restart=True,
                )
            # The start of Ray and of engines is once a job: time runs from the first block on.
            first = stamps[1] - seconds
            rate = blocks * seconds / engines / (stamps[-1] - first)
            print(f"{engines} engines, blocks of {seconds} s: {rate:.1%}", flush=True)
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    assert Usual is not Deadly
    sys.exit(main())
