"""Jobs on Ray Data: engines on the nodes of a cluster, each of which takes blocks as it is free.

from cactus.batch.ray import Engine
dataset.map_batches(Engine, fn_constructor_args=("embed",), batch_format="pyarrow", ...)
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import socket
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from cactus.batch.blocks import Blocks
from cactus.batch.inputs import open_input
from cactus.batch.job import Job, named_job
from cactus.batch.parquet import column_of, plain_rows, types_of
from cactus.batch.rows import Row
from cactus.batch.state import model_known_by
from cactus.batch.task import Line, Task
from cactus.errors import CactusError, InvalidRequest
from cactus.inputs.checks import boolean, expected
from cactus.machine import physical_cores
from cactus.weights.download import find_or_download
from cactus.weights.locate import is_weights_folder

BLOCK = 64
"""Rows that an engine is given together."""


class Engine:
    """What `Dataset.map_batches` is given: a job with a model, in an actor of Ray Data.

    `job` as for `batch.run`, without "openai". `model`: a folder that the node sees, or a name,
    which is fetched once a node unless `download` is False. `base`: the folder from which names of
    files in rows are meant. `threads`, `context`, `kv`, `activations` are those of `cactus.Model`.

    A call takes a pyarrow.Table (`batch_format="pyarrow"`) and adds the columns of the job and
    `error`, which is null where nothing is wrong with the row. A row that ends the process with the
    model is such an error. Raises InvalidRequest naming the field, and what loading the model does.
    """

    def __init__(
        self,
        job: Job | Mapping[str, Any] | str | os.PathLike[str],
        *,
        model: str | os.PathLike[str],
        base: str | os.PathLike[str] = ".",
        download: bool = True,
        threads: int | None = None,
        context: int | None = None,
        kv: str | None = None,
        activations: str | None = None,
    ) -> None:
        done = named_job(job)
        work = done.work()
        if work.WHOLE:
            raise InvalidRequest(f"job: {done.kind!r} makes lines of its own; use cactus.batch.run")
        offline = not boolean("download", download)
        folder = find_or_download(model, offline=offline, ability=work.ABILITY)
        load = {"threads": threads, "context": context, "kv": kv, "activations": activations}
        self._task = Task(done, Path(), folder, load, keep=(), told=False)
        self._blocks = Blocks(self._task, Path(base).absolute())

    def __call__(self, table: Any) -> Any:
        """The table with the columns of the job and `error`."""
        import pyarrow as pa

        if not isinstance(table, pa.Table):
            raise InvalidRequest(
                expected("batch", "a pyarrow.Table (batch_format='pyarrow')", type(table).__name__)
            )
        columns = self._task.columns
        for name in (*columns.new, "error"):
            if name in table.column_names:
                raise InvalidRequest(f"batch: the job has a column {name!r} of its own; rename it")
        rows = [
            Row(index, f"row {index + 1} of its batch", values)
            for index, values in enumerate(plain_rows(table))
        ]
        made: list[dict[str, Any]] = [{} for _ in rows]
        for index, _, line in self._blocks.lines(rows):
            made[index] = json.loads(line)
        names = [*columns.new, "error"]
        types = types_of(iter(made), names, columns)
        for name in names:
            table = table.append_column(name, column_of(made, name, types[name]))
        return table


@dataclass(frozen=True)
class Cluster:
    """Where a job runs: `address` is "auto", "local" or host:port; at most so many `engines`."""

    address: str
    engines: int | None = None

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        if self.address not in ("auto", "local") and not (host and port.isdecimal()):
            raise InvalidRequest(expected("ray", "'auto', 'local' or host:port", self.address))

    def lines(
        self, task: Task, done: Sequence[int], model: str | os.PathLike[str]
    ) -> Generator[Line, None, None]:
        """The lines of all rows that are not `done`, in any order, each once.

        `model` is what the caller said: a node that does not see the folder of the task takes that.
        Raises what ends the work of an engine; CactusError for what Ray raises.
        """
        seen = bytearray(done)
        with self._connected() as ray:
            try:
                with closing(self._batches(ray, task, bytes(done), os.fspath(model))) as batches:
                    for batch in batches:
                        for line in batch:
                            if not seen[line[0]]:  # a node that was lost may have told it before
                                seen[line[0]] = 1
                                yield line
            except ray.exceptions.RayError as error:
                raise _cause(error) from None

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        try:
            import ray
            import ray.data
        except ImportError:
            raise InvalidRequest(
                "ray: jobs on a cluster need Ray: python -m pip install 'cactus[ray]'"
            ) from None
        own = not ray.is_initialized()
        if own:
            options: dict[str, Any] = {}
            if self.address == "local":
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
                options["include_dashboard"] = False
            try:
                ray.init(self.address, logging_level=logging.ERROR, log_to_driver=False, **options)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise CactusError(f"ray: no cluster at {self.address!r}: {error}") from None
        elif self.address != "auto":
            raise InvalidRequest(
                expected("ray", "'auto', since Ray is connected already", self.address)
            )
        try:
            yield ray
        finally:
            if own:
                ray.shutdown()

    def _batches(
        self, ray: Any, task: Task, done: bytes, model: str
    ) -> Generator[list[Line], None, None]:
        given, engines = task.load["threads"], self.engines
        found = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        cpus = given or min((count for count in found if count), default=1)
        room = sum(count // cpus for count in found)
        if not room:
            raise InvalidRequest(
                f"threads: an engine of {cpus} has no room on the nodes, which have {found} CPUs"
            )
        engines = engines or room
        context = ray.data.DataContext.get_current()
        before = context.target_max_block_size, context.enable_progress_bars
        # A block of rows is one of Ray's: it would put small ones together.
        context.target_max_block_size, context.enable_progress_bars = 1, False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        try:
            here = ray.get_runtime_context().get_node_id()
            dataset = ray.data.read_datasource(
                _source(ray, replace(task, input=task.input.absolute()), done),
                override_num_blocks=1,
                num_cpus=0,
                label_selector={"ray.io/node-id": here},  # where the input is
            ).map_batches(
                _BlockEngine,
                fn_constructor_args=(_elsewhere(task), model, model_known_by(task.model), cpus),
                batch_size=1,
                batch_format="pyarrow",
                num_cpus=cpus,
                compute=ray.data.ActorPoolStrategy(
                    min_size=1,
                    max_size=engines,
                    initial_size=min(engines, room),
                    max_tasks_in_flight_per_actor=2,  # the next block is there when one is done
                ),
            )
            for table in dataset.iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            ):
                for lines in table.column("lines").to_pylist():
                    yield pickle.loads(lines)
        finally:
            context.target_max_block_size, context.enable_progress_bars = before


class _BlockEngine:
    """An engine of `Cluster`: blocks of rows in, blocks of lines out, both pickled."""

    def __init__(self, task: Task, model: str, known_by: dict[str, Any], cpus: int) -> None:
        folder = task.model
        if not is_weights_folder(folder):
            folder = find_or_download(model, ability=task.job.work().ABILITY)
        if model_known_by(folder) != known_by:
            raise CactusError(
                f"{socket.gethostname()}: the model in {folder} is not the one that the job was "
                "begun with"
            )
        threads = task.load["threads"] or min(cpus, physical_cores())
        task = replace(task, model=folder, load={**task.load, "threads": threads})
        self._blocks = Blocks(task, task.input)

    def __call__(self, table: Any) -> Any:
        import pyarrow as pa

        blocks = (pickle.loads(rows) for rows in table.column("rows").to_pylist())
        lines = [pickle.dumps(self._blocks.lines(rows)) for rows in blocks]
        return pa.table({"lines": pa.array(lines, pa.large_binary())})


def _elsewhere(task: Task) -> Task:
    """A task as an actor takes it, whose current folder is another; its input is the base."""
    documents = task.documents
    if documents is not None:
        documents = replace(documents, folder=documents.folder.absolute())
    base = open_input(task.input).base.absolute()
    return replace(task, model=task.model.absolute(), documents=documents, input=base)


def _source(ray: Any, task: Task, done: bytes) -> Any:
    """The rows that are not done, in blocks, as Ray Data has room for them."""

    class Source(ray.data.Datasource):  # type: ignore[misc]
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism: int, *limits: Any, **more: Any) -> list[Any]:
            from ray.data.block import BlockMetadata

            told = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)
            return [ray.data.ReadTask(lambda: _read(task, done), told)]

    return Source()


def _read(task: Task, done: bytes) -> Iterator[Any]:
    import pyarrow as pa

    rows = task.rows(open_input(task.input), done)
    while block := list(islice(rows, BLOCK)):
        yield pa.table({"rows": pa.array([pickle.dumps(block)], pa.large_binary())})


def _cause(error: BaseException) -> CactusError:
    """What ended the work, where it is an error of ours; else the last line of Ray's."""
    within: Any = error
    while within is not None:
        cause = getattr(within, "cause", None) or within.__cause__
        if isinstance(cause, CactusError) and not hasattr(cause, "cause"):
            return cause
        within = cause
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return CactusError(f"ray: {lines[-1].strip()}")
