"""``cactus index``: a folder of documents made searchable, and kept so."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cactus.cli.documents import (
    embedder_option,
    folder_argument,
    report_skipped,
    speech_option,
)
from cactus.cli.options import json_option, no_progress_option, threads_option
from cactus.cli.text import counted, megabytes, note, printable, table

if TYPE_CHECKING:
    from cactus.corpus.corpus import Corpus
    from cactus.retrieval.types import SyncReport

PAUSE = 1.0
"""Seconds between two looks at a folder that is watched; more, where a look takes longer."""


@click.command("index", short_help="Make a folder of documents searchable.")
@folder_argument
@embedder_option
@speech_option
@click.option("--include", multiple=True, metavar="PATTERN", help="Only files like this: '*.md'.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="No files like this: 'old/**'.")
@click.option("--hidden/--no-hidden", default=None, help="Files too whose name begins with a dot.")
@click.option("--watch", is_flag=True, help="Go on, and take up changes as they are made.")
@threads_option
@json_option
@no_progress_option
@click.pass_context
def command(
    ctx: click.Context,
    folder: Path,
    embedder: str | None,
    speech: str | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    hidden: bool | None,
    watch: bool,
    threads: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make the documents in DIR and below searchable: text, Markdown, HTML, PDF, Office, code ...

    With an embedder that sees (CLIP, SigLIP) it is the pictures in DIR, and words find them.

    The index lies in the user's cache; DIR is only read. Again, only what has changed is read. What
    is left out is counted with the reason: hidden files and those of .gitignore are, by default.
    Ctrl-C stops it; what is done stays done. The options are kept for 'cactus ask' and the others.
    """
    from cactus.cli.interrupt import stop_at_interrupt
    from cactus.cli.process import INTERRUPTED
    from cactus.corpus.corpus import Corpus
    from cactus.errors import Cancelled

    with Corpus(
        folder,
        embedder=embedder,
        speech=speech,
        include=include or None,
        exclude=exclude or None,
        hidden=hidden,
        threads=threads,
        sync=False,
    ) as corpus:
        with stop_at_interrupt(corpus.stop) as interrupted:
            try:
                _sync(corpus, as_json, quiet=quiet)
                took = 0.0
                while watch:
                    _wait(max(PAUSE, 10 * took), interrupted)
                    took = _sync(corpus, as_json, quiet=True, only_news=True)
            except Cancelled:
                if not watch:
                    note(f"Stopped; {counted(corpus.chunks, 'chunk')} are in the index so far.")
                ctx.exit(INTERRUPTED)
        if not corpus.chunks:
            ctx.exit(1)


def _sync(corpus: Corpus, as_json: bool, *, quiet: bool, only_news: bool = False) -> float:
    """Bring it up to date and tell what was done; how many seconds that took."""
    began = time.monotonic()
    report = corpus.sync(progress=not quiet)
    took = time.monotonic() - began
    if not only_news or report.added or report.changed or report.removed:
        _tell(corpus, report, took, as_json)
    return took


def _wait(seconds: float, interrupted: Callable[[], bool]) -> None:
    """Sleep; Cancelled once there was an interrupt."""
    from cactus.errors import Cancelled

    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if interrupted():
            raise Cancelled("no longer watching")
        time.sleep(0.1)


def _tell(corpus: Corpus, report: SyncReport, seconds: float, as_json: bool) -> None:
    if as_json:
        click.echo(
            json.dumps(
                {
                    "folder": str(corpus.folder),
                    "index": str(corpus.index_path),
                    "embedder": corpus.embedder,
                    "files": corpus.files,
                    "chunks": report.chunks,
                    "embedded": report.embedded,
                    "added": report.added,
                    "changed": report.changed,
                    "removed": report.removed,
                    "unchanged": report.unchanged,
                    "failed": report.failed,
                    "skipped": dict(report.skipped.counts),
                    "rebuilt": report.rebuilt or None,
                    "seconds": round(seconds, 3),
                },
                ensure_ascii=False,
            )
        )
        return
    if report.rebuilt:
        note(f"The index was built anew: {report.rebuilt}")
    files, chunks = counted(corpus.files, "file"), counted(report.chunks, "chunk")
    click.echo(f"{printable(str(corpus.folder))}: {files}, {chunks}")
    changes = f"{report.added:,} added, {report.changed:,} changed, {report.removed:,} removed, "
    changes += f"{report.unchanged:,} unchanged; {counted(report.embedded, 'chunk')} embedded"
    size = megabytes(corpus.index_path.stat().st_size)
    rows = [
        ("files", f"{changes} in {seconds:.1f} s"),
        ("embedder", corpus.embedder),
        ("index", f"{corpus.index_path} ({size})"),
    ]
    click.echo(table(rows, 2))
    if report.skipped.total:
        click.echo("  skipped")
        click.echo(table(report_skipped(report.skipped), 4))
    if not report.chunks:
        note("There is nothing to search: no document could be read.")
