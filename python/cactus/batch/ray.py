"""A job as a step of a pipeline of Ray Data. Whole jobs on a cluster are in `cluster`.

from cactus.batch.ray import Engine
dataset.map_batches(Engine, fn_constructor_args=("embed",), batch_format="pyarrow", ...)
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cactus.batch.blocks import Blocks
from cactus.batch.job import Job, named_job
from cactus.batch.parquet import column_of, plain_rows, types_of
from cactus.batch.rows import Row
from cactus.batch.task import Task
from cactus.errors import InvalidRequest
from cactus.inputs.checks import boolean, expected
from cactus.machine import physical_cores
from cactus.weights.download import find_or_download


class Engine:
    """What `Dataset.map_batches` is given: a job with a model, in an actor of Ray Data.

    `job` as for `batch.run`, without "openai". `model`: a folder that the node sees, or a name,
    which is fetched once a node unless `download` is False. `base`: the folder from which names of
    files in rows are meant. `threads`, `context`, `kv`, `activations` are those of `cactus.Model`;
    without `threads` there are as many as Ray has given the actor CPUs.

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
        if work.OWN_LINES:
            raise InvalidRequest(f"job: {done.kind!r} makes lines of its own; use cactus.batch.run")
        offline = not boolean("download", download)
        folder = find_or_download(model, offline=offline, ability=work.ABILITY)
        load = {
            "threads": _given_cpus() if threads is None else threads,
            "context": context,
            "kv": kv,
            "activations": activations,
        }
        self._task = Task(done, Path(), folder, load, keep=(), full_lines=False)
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


def _given_cpus() -> int | None:
    """How many CPUs Ray has given this actor, as far as there are cores; None where it is none."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return None
    given = ray.get_runtime_context().get_assigned_resources().get("CPU", 0)
    return max(1, min(int(given), physical_cores())) if given else None
