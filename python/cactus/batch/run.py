"""A job over a file: from wherever it was to its end, each row once in the output."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cactus.batch.folders import FolderOutput, documents
from cactus.batch.inputs import open_input
from cactus.batch.job import Job, named_job
from cactus.batch.output import Output, Written
from cactus.batch.outputs import open_output
from cactus.batch.parts import Part, Parts
from cactus.batch.rows import Input
from cactus.batch.state import State, alone, model_known_by
from cactus.batch.task import Line, Task
from cactus.batch.workers import lines_of_all, process_count
from cactus.errors import CactusError, InvalidRequest
from cactus.inputs.checks import boolean, integer, short, text
from cactus.inputs.text import reason_of
from cactus.progress import Progress, chosen_progress
from cactus.weights.resolve import resolve

MOST_WORKERS = 256
MOST_ENGINES = 100_000
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Lines = Callable[[Task, Sequence[int]], Generator[Line | Part, None, None]]
"""What makes the lines of the rows that are not done, or files of some of them."""


@dataclass(frozen=True)
class Report:
    """What an output has: `rows`, and how many of these have an `error`.

    `before` of the rows were there when the job went on; `seconds` is how long the others took.
    """

    output: Path
    rows: int
    errors: int
    before: int
    seconds: float


def run(
    job: Job | Mapping[str, Any] | str | os.PathLike[str],
    input: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str],
    keep: Sequence[str] | None = None,
    workers: int | None = None,
    ray: str | None = None,
    download: bool = True,
    ordered: bool = False,
    restart: bool = False,
    form: str | None = None,
    progress: Progress | bool | None = None,
    threads: int | None = None,
    context: int | None = None,
    kv: str | None = None,
    activations: str | None = None,
) -> Report:
    """Do a job for every row of a file, and write a row for each; the same call goes on.

    `job`: a `Job`, its object, the name of a kind ("chat"), or the name of a JSON or TOML file.
    `input`, `output`: files whose kinds are told by the endings of their names (docs/batch.md).
    `model`, `threads` (of each worker), `context`, `kv`, `activations` are those of `cactus.Model`.
    `keep`: the columns of the input that the output has, too; None for all. `workers`: processes,
    1 to 256, each with a model of its own; None for 1, or without `threads` one for each core where
    many texts are embedded or ranked. `ray`: "auto", "local" or host:port of a Ray cluster; a
    worker is then an actor of `threads` CPUs (those of the smallest node; for vectors and ranks 1),
    and there are as many as have room, or `workers` at most; a node that does not see the folder of
    the model fetches it, unless `download` is False. `ordered`: rows in the order of the input,
    instead of as they are ready. `form`: of the files that a folder as output gets, "text", or of
    transcriptions "srt", "vtt", "tsv", "json". `restart`: begin anew where there is an output.

    What is wrong with a row is its column `error`. What was done when an earlier call ended, in any
    way, stays done; `OUTPUT.batch.json` says what it was begun with. Raises InvalidRequest naming
    the field, and if `output` was begun with something else; and what loading the model does.
    """
    task = Task(
        named_job(job),
        Path(input),
        Path(),
        {"threads": threads, "context": context, "kv": kv, "activations": activations},
        _names(keep),
    )
    if workers is not None:
        workers = integer("workers", workers, 1, MOST_WORKERS if ray is None else MOST_ENGINES)
    lines = _lines(workers, ray, boolean("download", download))
    ordered, restart = boolean("ordered", ordered), boolean("restart", restart)
    source, target = open_input(input), open_output(output, form)
    if task.job.work().OWN_LINES and type(target) is not Output:
        raise InvalidRequest(f"output: a job of {task.job.kind!r} writes JSON lines (.jsonl)")
    if task.job.work().OWN_LINES and task.keep is not None:
        raise InvalidRequest(f"keep: a job of {task.job.kind!r} writes no columns of the input")
    if isinstance(target, FolderOutput):
        kind, forms = task.job.kind, task.job.work().FORMS
        task = replace(task, documents=documents(target.path, form, forms, source, kind))
    if target.path.absolute() == source.path.absolute():
        raise InvalidRequest(f"output: {str(output)!r} is the input")
    task.check(source)
    task = replace(task, model=resolve(model), full_lines=target.full_lines)
    target.prepare()
    with alone(target.lock, target.path), chosen_progress(progress, "rows") as shown:
        try:
            return _go_on(task, source, target, lines, ordered, restart, shown)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            raise CactusError(
                f"{target.path} cannot be written: {reason_of(error)}; the rows that are done "
                "stay, and the same job goes on behind them when there is room"
            ) from None


def _lines(workers: int | None, ray: str | None, download: bool) -> Lines:
    """Who makes the lines of a task: this process, several, or those of a cluster."""
    if ray is not None:
        from cactus.batch.cluster import Cluster

        return Cluster(text("ray", ray), workers, download).lines

    def lines(task: Task, done: Sequence[int]) -> Generator[Line | Part, None, None]:
        count = process_count(task, len(done) - sum(done)) if workers is None else workers
        return task.lines(done) if count == 1 else lines_of_all(task, count, done)

    return lines


def _names(keep: Any) -> Sequence[str] | None:
    if keep is None:
        return None
    if isinstance(keep, str) or not all(isinstance(name, str) for name in keep):
        raise InvalidRequest(f"keep must be a list of names of columns, got {short(keep)}")
    return tuple(keep)


def _go_on(
    task: Task,
    source: Input,
    target: Output,
    lines_of: Lines,
    ordered: bool,
    restart: bool,
    shown: Progress | None,
) -> Report:
    began = time.monotonic()
    made_of = {
        "job": task.job.to_dict(),
        "input": source.known_by(),
        "model": model_known_by(task.model),
        "options": {
            **{name: value for name, value in task.load.items() if name != "threads"},
            "keep": task.keep,
            "ordered": ordered,
            "form": None if task.documents is None else task.documents.form,
        },
    }
    state = State(target.state, target.path)
    begun = None if restart else state.read()
    if begun is not None:
        state.check(made_of, begun["made_of"])
        whole = begun.get("whole")
        if whole and target.path.exists() and not target.full_lines:
            target.clean()
            return Report(target.path, whole["rows"], whole["errors"], whole["rows"], 0.0)
    else:
        if target.taken and not restart:
            raise InvalidRequest(f"{target.path} is there already; --restart begins anew")
        target.remove()
        state.write(made_of)
    with ExitStack() as stack:
        journal = target.opened(task.job.work(), task.columns, source, source.count())
        stack.callback(journal.close)
        before, total = journal.rows, len(journal.done)
        if before < total:
            if isinstance(journal, Parts) and not ordered:
                task = replace(task, writer=journal.writer)
            lines = lines_of(task, journal.done)
            stack.enter_context(closing(lines))
            _write(_in_order(lines, journal.done) if ordered else lines, journal, shown)
    if journal.rows != total:
        raise InvalidRequest(
            f"{source.path} has changed: {total} rows were counted, {journal.rows} were read"
        )
    target.finish(task.columns, source, total)
    state.write(made_of, whole={"rows": total, "errors": journal.errors})
    target.clean()
    return Report(target.path, total, journal.errors, before, time.monotonic() - began)


def _write(lines: Iterable[Line | Part], journal: Written, shown: Progress | None) -> None:
    if shown is not None:
        shown("batch", journal.rows, len(journal.done))
    for line in lines:
        if isinstance(line, Part):
            assert isinstance(journal, Parts)
            journal.adopt(line)
        else:
            journal.write([line])
        if shown is not None:
            shown("batch", journal.rows, len(journal.done))


def _in_order(lines: Iterable[Line | Part], done: Sequence[int]) -> Iterator[Line]:
    """The lines in the order of the rows; those that are ready before wait."""
    waiting: dict[int, Line] = {}
    index = 0
    for line in lines:
        assert not isinstance(line, Part)
        waiting[line[0]] = line
        while index < len(done) and (done[index] or index in waiting):
            if not done[index]:
                yield waiting.pop(index)
            index += 1
