"""A job on a cluster of Ray: engines on its nodes, each of which takes blocks as it is free."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import Any
from uuid import uuid4

from cactus.batch.blocks import Blocks, NotLoaded
from cactus.batch.inputs import open_input
from cactus.batch.parts import Part
from cactus.batch.pool import Done, Lost, Outcome, Pool
from cactus.batch.rows import Row
from cactus.batch.state import model_known_by
from cactus.batch.task import Line, Task
from cactus.errors import CactusError, InvalidRequest
from cactus.inputs.checks import expected
from cactus.inputs.text import reason_of
from cactus.machine import physical_cores
from cactus.weights.download import find_or_download
from cactus.weights.locate import is_weights_folder, name_of, source_id, source_of


@dataclass(frozen=True)
class Cluster:
    """Where a job runs: `address` is "auto", "local" or host:port; at most so many `engines`.

    A node that does not see the folder of the model fetches it, unless `download` is False.
    """

    address: str
    engines: int | None = None
    download: bool = True

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        if self.address not in ("auto", "local") and not (host and port.isdecimal()):
            raise InvalidRequest(expected("ray", "'auto', 'local' or host:port", self.address))

    def lines(self, task: Task, done: Sequence[int]) -> Generator[Line | Part, None, None]:
        """The lines of all rows that are not `done`, or files of them, in any order, each once.

        Raises what ends the work of an engine; CactusError for what Ray raises.
        """
        with self._connected() as ray:
            pool = self._pool(ray, task)
            rows = task.rows(open_input(task.input), done)
            with closing(pool.lines(rows, len(done) - sum(done))) as lines:
                yield from lines

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        try:
            import ray
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
            except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
                raise CactusError(
                    f"ray: no cluster at {self.address!r}: {reason_of(error)}"
                ) from None
        elif self.address != "auto":
            raise InvalidRequest(
                expected("ray", "'auto', since Ray is connected already", self.address)
            )
        try:
            yield ray
        finally:
            if own:
                ray.shutdown()

    def _pool(self, ray: Any, task: Task) -> Pool:
        found = _cpus(ray)
        smallest = min((count for count in found if count), default=1)
        one_a_core = task.job.work().ROWS_A_PROCESS is not None
        cpus = task.load["threads"] or (1 if one_a_core else smallest)
        if not self._room(ray, cpus):
            raise InvalidRequest(
                f"threads: an engine of {cpus} has no room on the nodes, which have {found} CPUs"
            )
        # What is done with a block whose engine is lost is up to the pool, not to Ray.
        actor = ray.remote(
            num_cpus=cpus, max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD"
        )(_BlockEngine)
        known_by = model_known_by(task.model)
        name = _called_elsewhere(task.model)
        there = ray.put(_elsewhere(task))
        return Pool(
            lambda: _Actor(ray, actor.remote(there, name, self.download, known_by, cpus)),
            lambda: self.engines or self._room(ray, cpus),
        )

    def _room(self, ray: Any, cpus: int) -> int:
        return sum(count // cpus for count in _cpus(ray))


def _cpus(ray: Any) -> list[int]:
    """The CPUs of each node."""
    return [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]


class _Actor:
    """An engine as the pool sees it."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray, self._actor = ray, actor

    def give(self, rows: list[Row] | None, tell: Callable[[Outcome], None]) -> None:
        actor = self._actor
        reference = actor.load.remote() if rows is None else actor.lines.remote(rows)
        reference.future().add_done_callback(lambda future: tell(self._outcome(future)))

    def _outcome(self, future: Any) -> Outcome:
        try:
            lines, seconds = future.result()
            return Done(lines, seconds)
        except self._ray.exceptions.RayTaskError as error:
            cause = _cause(error)
            return Lost(str(cause)) if isinstance(cause, NotLoaded) else cause
        except self._ray.exceptions.RayError as error:
            return Lost(_reason(self._ray, error))
        except BaseException as error:
            return CactusError(f"ray: {type(error).__name__}: {error}")

    def end(self) -> None:
        self._ray.kill(self._actor)


class _BlockEngine:
    """An engine of `Cluster`: the lines of blocks or files of them, and the seconds they took."""

    def __init__(
        self, task: Task, name: str, download: bool, known_by: dict[str, Any], cpus: int
    ) -> None:
        self._task, self._name, self._download = task, name, download
        self._known_by, self._cpus = known_by, cpus

    def load(self) -> tuple[Sequence[Line | Part], float]:
        """Begin: raises what loading the model does."""
        task, folder = self._task, self._task.model
        if not is_weights_folder(folder):
            ability = task.job.work().ABILITY
            folder = find_or_download(self._name, offline=not self._download, ability=ability)
        if model_known_by(folder) != self._known_by:
            raise CactusError(
                f"{socket.gethostname()}: the model in {folder} is not the one that the job was "
                "begun with"
            )
        threads = task.load["threads"] or min(self._cpus, physical_cores())
        task = replace(task, model=folder, load={**task.load, "threads": threads})
        self._blocks = Blocks(task, task.input)
        return [], 0.0

    def lines(self, rows: list[Row]) -> tuple[Sequence[Line | Part], float]:
        """The lines of a block, or a file of them."""
        began = time.monotonic()
        done = self._done(rows)
        return done, time.monotonic() - began

    def _done(self, rows: list[Row]) -> Sequence[Line | Part]:
        lines, writer = self._blocks.lines(rows), self._task.writer
        if writer is None:
            return lines
        return [writer.write(f"_block-{uuid4()}.parquet", (line for _, _, line in lines))]


def _called_elsewhere(folder: Path) -> str:
    """What a node that does not see a folder finds or fetches: what that was made from."""
    source = source_of(folder)
    called = source_id(folder, source)
    if called is None:
        return name_of(folder)
    file = source.get("file") if "commit" in source else None
    return f"{called}:{file}" if file else called


def _elsewhere(task: Task) -> Task:
    """A task as an actor takes it, whose current folder is another; its input is the base."""
    documents = task.documents
    if documents is not None:
        documents = replace(documents, folder=documents.folder.absolute())
    base = open_input(task.input).base.absolute()
    return replace(task, model=task.model.absolute(), documents=documents, input=base)


def _reason(ray: Any, error: BaseException) -> str:
    """Why an engine was lost, by what Ray says."""
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return "the memory of its node was full, and Ray's memory monitor has ended it"
    said = [line.strip() for line in str(error).splitlines()]
    return shorten(" ".join(line for line in said if not line.startswith(_HEADS)), 240)


_HEADS = ("The actor died", "class_name:", "actor_id:", "pid:", "name:", "namespace:", "ip:")


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
