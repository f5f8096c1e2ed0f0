"""``cactus batch``: the same for every row of a file, and on from wherever it was."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cactus.cli.complete import complete_installed
from cactus.cli.options import (
    Real,
    Whole,
    activations_option,
    kv_option,
    no_progress_option,
    offline_option,
    threads_option,
)
from cactus.cli.text import counted, note, printable

if TYPE_CHECKING:
    from cactus.batch import Job
    from cactus.progress import Progress

SAID_SECONDS = 30
"""Where there is no terminal, a line says so often how far the job is."""


@click.command("batch", short_help="Do the same for every row of a file.")
@click.argument("job", metavar="JOB")
@click.argument("input", metavar="INPUT", type=click.Path())
@click.argument("output", metavar="OUTPUT", type=click.Path())
@click.option(
    "--model",
    "-m",
    shell_complete=complete_installed,
    help="A name, a Hugging Face id, a folder or a GGUF file.  [default: as for the command that "
    "does it once]",
)
@click.option("--prompt", "-p", metavar="TEXT", help="What is said, as in 'Translate: {text}'.")
@click.option("--system", metavar="TEXT", help="How to answer; it may have columns, too.")
@click.option(
    "--schema",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A JSON schema of an object: its properties become columns.",
)
@click.option("--max-tokens", type=Whole(1), metavar="N", help="Most tokens of an answer.")
@click.option("--temperature", type=Real(0), metavar="X", help="0: the likeliest answer.")
@click.option(
    "--option",
    "-o",
    "given",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another option of the model's method, its value as JSON or a text; repeatable.",
)
@click.option(
    "--keep",
    metavar="NAMES",
    help="Columns of INPUT that OUTPUT has, too, as in 'id,text'.  [default: all]",
)
@click.option(
    "--workers",
    type=Whole(1),
    metavar="N",
    help="Processes, each with a model of its own.  [default: 1, of many vectors and scores one "
    "for each core; with --ray as many as have room]",
)
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Run them on a Ray cluster: auto (the one of this machine), local, or HOST:PORT.",
)
@click.option("--ordered", is_flag=True, help="Write rows in the order of INPUT.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "srt", "vtt", "tsv", "json"]),
    help="OUTPUT is a folder that gets a file for each in INPUT: of recordings all of these, of "
    "answers text.",
)
@click.option("--restart", is_flag=True, help="Begin anew, and replace OUTPUT.")
@threads_option
@kv_option
@activations_option
@offline_option
@no_progress_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    job: str,
    input: str,
    output: str,
    model: str | None,
    keep: str | None,
    workers: int | None,
    ray: str | None,
    ordered: bool,
    form: str | None,
    restart: bool,
    threads: int | None,
    kv: str | None,
    activations: str | None,
    offline: bool,
    quiet: bool,
    given: tuple[str, ...],
    schema: Path | None,
    **named: Any,
) -> None:
    """Do JOB for every row of INPUT and write a row for each into OUTPUT.

    JOB is chat, embed, rerank, transcribe, describe or openai, or a file that ends in .json or
    .toml and says more. INPUT is JSON lines, CSV, Parquet,
    a text with a row a line, or a folder; OUTPUT JSON lines, CSV or Parquet. The endings of their
    names tell (.jsonl, .csv, .tsv, .parquet, .txt).

    What is wrong with a row is its column "error", and the exit status is then 1. A job that was
    ended in any way goes on where it was by the same command, and each row is there once.
    """
    from cactus.batch import run
    from cactus.cli.process import INTERRUPTED

    done = _job(job, named, given, schema)
    folder = _model(done, model, offline=offline)
    try:
        with _progress(quiet) as shown:
            report = run(
                done,
                input,
                output,
                model=folder,
                keep=None if keep is None else [name for name in keep.split(",") if name],
                workers=workers,
                ray=ray,
                download=not offline,
                ordered=ordered,
                form=form,
                restart=restart,
                progress=shown,
                threads=threads,
                kv=kv,
                activations=activations,
            )
    except KeyboardInterrupt:
        click.echo("\nStopped; the same command goes on from here.", err=True)
        ctx.exit(INTERRUPTED)
    if not quiet:
        wrong = f", {counted(report.errors, 'row')} with an error" if report.errors else ""
        new = report.rows - report.before
        rate = f", {new / report.seconds:,.1f} rows/s" if report.seconds and new else ""
        note(f"{output}: {counted(report.rows, 'row')}{wrong}{rate}")
    ctx.exit(int(report.errors > 0))


def _job(name: str, named: dict[str, Any], given: tuple[str, ...], schema: Path | None) -> Job:
    """The job of the command line; what it says comes before what a file does."""
    from cactus.batch.job import Job, named_job
    from cactus.grammar.formats import read_schema

    found = named_job(name)
    options = dict(found.options)
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--option {text!r}: expected NAME=VALUE.")
        options[key] = _value(value)
    fields = dict(found.fields)
    for key, value in named.items():
        if value is not None:
            (options if key in ("max_tokens", "temperature") else fields)[key] = value
    if schema is not None:
        fields["schema"] = read_schema(schema)
    return Job(found.kind, fields, options)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _model(job: Job, name: str | None, *, offline: bool) -> Path:
    """The model that is named, else the one that the command for a single row would take."""
    from cactus.cli.models import find_or_fetch, find_seeing, find_text_model
    from cactus.cli.transcribe import MODEL
    from cactus.weights.catalog import STARTER

    ability = job.work().ABILITY
    if ability == "embed" or ability == "rerank":
        return find_text_model(name, ability, offline=offline)
    if ability == "see":
        return find_seeing(name, offline=offline)
    usual = MODEL if ability == "transcribe" else STARTER.name
    # OpenAI's files may ask for vectors alone, of a model that does nothing else.
    wanted = None if job.kind == "openai" else ability
    return find_or_fetch(name or usual, offline=offline, ability=wanted)


@contextmanager
def _progress(quiet: bool) -> Iterator[Progress | bool]:
    """Bars on a terminal; elsewhere a line now and then."""
    if quiet:
        yield False
    elif sys.stderr.isatty():
        yield True
    else:
        yield _Said().tell


class _Said:
    """Lines that say how far a job is, at which rate, and how long the rest takes."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None
        self._next = 0.0

    def tell(self, label: str, done: int, total: int) -> None:
        """So many rows are done."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._next = (now, done), now + SAID_SECONDS
            print(f"{done:,}/{total:,} rows are done", file=sys.stderr, flush=True)
        elif now >= self._next:
            self._next = now + SAID_SECONDS
            rate = (done - self._first[1]) / (now - self._first[0])
            minutes = (total - done) / rate / 60 if rate else 0
            left = f", {minutes:,.0f} min left" if minutes >= 1 else ""
            line = f"{done:,}/{total:,} rows, {rate:,.1f} rows/s{left}"
            print(printable(line), file=sys.stderr, flush=True)
