"""Jobs on a cluster of four node processes: equal to one machine's, whatever is killed.

PYTHONPATH=. python tools/check_ray.py [MODEL]         all of it, with a model; needs cactus[ray]
PYTHONPATH=. python tools/check_ray.py --overhead      what blocks cost, with rows that only wait
PYTHONPATH=. python tools/check_ray.py --only poison   one of it

Without MODEL, a random one that loads at once. The exit status is 1 where an output is another. The
row that takes all memory needs a machine where 4 GB are free, and nothing else takes or gives some.
"""

from __future__ import annotations

import argparse
import json
import operator
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
from ray.cluster_utils import Cluster
from tools.ray_rates import driver, linear, overhead, unequal

from cactus import batch
from cactus.batch.ray import Engine
from cactus.machine import available_bytes, memory_bytes
from tests.batch.deadly import Deadly

JOB = {"job": "chat", "prompt": "Say {text}.", "options": {"max_tokens": 6, "seed": 3}}
ROWS = 2000
STORE = 100 << 20
DRIVER = """
import sys
from cactus import batch
from cactus.batch import parts
parts.PART = 300
batch.run({job!r}, sys.argv[1], sys.argv[2], model=sys.argv[3], ray="auto", threads=1)
"""


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--overhead", action="store_true")
    parser.add_argument("--engines", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument("--only", choices=[part.__name__ for part in Check.PARTS], nargs="+")
    given = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cactus-ray-") as home:
        check = Check(Path(home), given.model or _tiny(Path(home)))
        if given.overhead:
            check.measure(given.engines)
        else:
            for part in Check.PARTS:
                if not given.only or part.__name__ in given.only:
                    print(f"{part.__name__} ...", flush=True)
                    part(check)
    print("\n" + "\n".join(check.table))
    print(f"{time.monotonic() - began:.0f} s, {check.wrong} wrong")
    return int(check.wrong > 0)


def _tiny(folder: Path) -> Path:
    from cactus.weights.convert import convert
    from tests.conftest import write_tiny_checkpoint

    (folder / "checkpoint").mkdir()
    write_tiny_checkpoint(folder / "checkpoint")
    convert(folder / "checkpoint", folder / "tiny", "INT8")
    return folder / "tiny"


class Nodes:
    """A head without CPUs, on which the driver is, and nodes with some; until it is left."""

    def __init__(self, nodes: int, cpus: int = 1, system: dict[str, Any] | None = None) -> None:
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE}
        if system:
            head["_system_config"] = system
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes = [self.add(cpus) for _ in range(nodes)]

    def add(self, cpus: int = 1, **environment: str) -> Any:
        """One more node. Ray waits for it 30 s, which others on the machine may need alone."""
        found = ray._private.services.get_node

        def patient(*given: Any) -> Any:
            for _ in range(60):
                with suppress(RuntimeError):
                    return found(*given)
                time.sleep(1)
            return found(*given)

        slow = patch("ray._private.services.get_node", patient)
        with slow, patch.dict(os.environ, environment):
            return self.cluster.add_node(num_cpus=cpus, object_store_memory=STORE)

    def kill(self) -> None:
        """The last node is no more, without a word."""
        self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)

    def __enter__(self) -> Nodes:
        self.cluster.wait_for_nodes()
        ray.init(self.cluster.address, log_to_driver=False, logging_level="ERROR")
        return self

    def __exit__(self, *_: object) -> None:
        ray.shutdown()
        self.cluster.shutdown()


class Check:
    """What is done with a model, and a line of the table for each."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.model = folder, model
        self.table: list[str] = []
        self.wrong = 0
        self.source = folder / "in.jsonl"
        self._alone: list[dict[str, Any]] = []

    def say(self, name: str, good: bool, more: str = "") -> None:
        """A line of the table."""
        self.table.append(f"{name:38} {'equal' if good else 'ANOTHER OUTPUT':15} {more}")
        self.wrong += not good
        print("  " + self.table[-1], flush=True)

    def given(self) -> list[dict[str, Any]]:
        """The rows of one machine."""
        if not self._alone:
            texts = [f"row {n} {'and on ' * (n % 4)}" for n in range(ROWS)]
            write(self.source, [{"text": text} for text in texts])
            output = self.folder / "alone.jsonl"
            batch.run(JOB, self.source, output, model=self.model, threads=1, progress=False)
            self._alone = rows_of(output)
        return self._alone

    def job(self, source: Path, name: str, task: Any = None) -> tuple[Path, str]:
        """A job on the cluster: its output, and how long it took."""
        output, began = self.folder / name, time.monotonic()
        with patch("cactus.batch.run.Task", task or batch.run.__globals__["Task"]):
            batch.run(JOB, source, output, model=self.model, ray="auto", threads=1, progress=False)
        return output, f"{time.monotonic() - began:.1f} s"

    def nodes(self) -> None:
        """Four nodes; and one of them killed in the middle."""
        wanted = self.given()
        with Nodes(4) as nodes:
            output, took = self.job(self.source, "nodes.jsonl")
            self.say("four nodes", rows_of(output) == wanted, took)
            when(self.folder / "killed.jsonl", ROWS // 4, nodes.kill)
            output, took = self.job(self.source, "killed.jsonl")
            self.say("a node killed at a quarter", rows_of(output) == wanted, took)

    def driver(self) -> None:
        """A driver killed at five random points, and begun again; with a node killed, too."""
        wanted = self.given()
        with Nodes(4) as nodes:
            output = self.folder / "drivers.jsonl"
            when(output, ROWS // 2, nodes.kill)
            status, killed = self._killed(nodes, output)
            same = status == 0 and rows_of(output) == wanted
            self.say("the driver killed", same, f"at {killed} rows; and a node")
            folder = self.folder / "drivers.parquet"
            folder.mkdir()
            status, killed = self._killed(nodes, folder)
            rows = sorted(pq.read_table(folder).to_pylist(), key=lambda row: row["index"])
            files = len(list(folder.glob("*.parquet")))
            same = status == 0 and rows == wanted
            self.say("and with a folder of Parquet", same, f"at {killed} rows; {files} files")

    def _killed(self, nodes: Nodes, output: Path) -> tuple[int, str]:
        """The status of the last of some drivers that are killed, and at how many rows."""
        code = DRIVER.format(job=JOB)
        command = [sys.executable, "-c", code, str(self.source), str(output), str(self.model)]
        environment = {**os.environ, "RAY_ADDRESS": nodes.cluster.address}
        killed = []
        for point in [*sorted(random.Random(1).sample(range(ROWS), 5)), None]:
            driver = subprocess.Popen(command, env=environment)
            while driver.poll() is None:
                if point is not None and written(output) >= point:
                    driver.send_signal(signal.SIGKILL)
                    driver.wait()
                    killed.append(str(written(output)))
                time.sleep(0.005)
        return driver.returncode, ", ".join(killed)

    def pipeline(self) -> None:
        """A pipeline of Ray Data with our engine in it."""
        wanted = self.given()
        given, made = self.folder / "given", self.folder / "made"
        given.mkdir()
        pq.write_table(pa.table({"text": [row["text"] for row in wanted]}), given / "a.parquet")
        with Nodes(4):
            rows = ray.data.read_parquet(str(given)).map_batches(
                Engine,
                fn_constructor_args=(JOB,),
                fn_constructor_kwargs={"model": str(self.model)},
                batch_format="pyarrow",
                batch_size=100,
                num_cpus=1,
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=4),
            )
            rows.write_parquet(str(made))
        found = pq.read_table(made).to_pylist()
        without = [{name: row[name] for name in row if name != "index"} for row in wanted]
        key = operator.itemgetter("text", "answer")
        self.say("a pipeline of Ray Data", sorted(found, key=key) == sorted(without, key=key))

    def poison(self) -> None:
        """Rows that kill the process with the model, or the engine itself."""
        bad = {70: "deadly", 333: "deadly", 150: "fatal"}
        with Nodes(4):
            self._bad("poison rows", bad, 400)

    def memory(self) -> None:
        """A row that takes so much memory that Ray's monitor kills its engine."""
        total, free, room = memory_bytes(), available_bytes(), 2 << 30
        assert total and free and free > 2 * room, "4 GB have to be free"
        system = {
            "memory_usage_threshold": (total - free + room) / total,
            "memory_monitor_refresh_ms": 100,
        }
        with Nodes(2, system=system):
            self._bad("a row that takes all memory", {40: "hungry"}, 100, room >> 19)

    def _bad(self, name: str, bad: dict[int, str], count: int, value: int = 1) -> None:
        """Rows of which some kill whoever does them: they are errors, the others are as ever."""
        source, sound = self.folder / f"{name}.jsonl", self.folder / "sound.jsonl"
        rows: list[dict[str, Any]] = [{"text": f"row {n}"} for n in range(count)]
        for index, column in bad.items():
            rows[index][column] = value
        write(source, rows)
        output, took = self.job(source, f"{name}-out.jsonl", Deadly)
        batch.run(JOB, source, sound, model=self.model, threads=1, progress=False, restart=True)
        found = rows_of(output)
        errors = {row["index"]: row["error"] for row in found if row["error"]}
        wanted = [row for row in rows_of(sound) if row["index"] not in bad]
        good = list(errors) == sorted(bad) and [row for row in found if not row["error"]] == wanted
        self.say(name, good, took)
        self.table += [f"    {error}" for error in errors.values()]

    def speeds(self) -> None:
        """Nodes of different speed, and one that comes later."""
        with Nodes(0) as nodes:
            for slower in (1, 1, 2, 4):
                nodes.add(CACTUS_TEST_SLOW=str(slower))
            nodes.cluster.wait_for_nodes()
            for line in unequal(self.folder, self.model, nodes.add):
                self.table.append(line)

    def linear(self) -> None:
        """How much faster two nodes of one thread are than one, and two processes than one."""
        self.given()
        self.table += linear(self.folder, self.model, self.source, JOB, Nodes)

    def measure(self, engines: list[int]) -> None:
        """The table of what blocks cost."""
        for count in engines:
            with Nodes(4, count // 4):
                self.table += overhead(self.folder, self.model, count)
        with Nodes(1, 2):
            self.table += driver(self.folder, self.model)

    PARTS = (nodes, driver, pipeline, poison, memory, speeds, linear)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The lines of an output in the order of its rows."""
    lines = path.read_text("utf-8").splitlines()
    return sorted(map(json.loads, lines), key=lambda row: row["index"])


def written(output: Path) -> int:
    """How many rows an output has: of its lines, or of files of Parquet and lines beside."""
    if not output.is_dir():
        return output.read_bytes().count(b"\n") if output.exists() else 0
    whole = sum(pq.ParquetFile(file).metadata.num_rows for file in output.glob("[bp]*.parquet"))
    try:
        rest = sum(file.read_bytes().count(b"\n") for file in output.glob("_part-*.jsonl"))
    except FileNotFoundError:
        rest = 0  # its lines are in a file now
    return whole + rest


def when(output: Path, rows: int, act: Callable[[], Any]) -> None:
    """Do something as soon as so many rows are written."""

    def wait() -> None:
        while written(output) < rows:
            time.sleep(0.01)
        act()

    Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
