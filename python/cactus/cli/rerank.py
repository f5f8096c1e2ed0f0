"""``cactus rerank``: texts in the order in which they answer a query, from lines to lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from cactus.cli.complete import complete_rerankers
from cactus.cli.options import Whole, no_progress_option, offline_option, threads_option
from cactus.cli.text import complain, whole_characters
from cactus.cli.texts import (
    Line,
    field_option,
    file_argument,
    input_option,
    name_of_input,
    opened,
    read_lines,
    too_long,
    truncate_option,
)
from cactus.inputs.lines import json_line

if TYPE_CHECKING:
    from cactus import Model, RankedText


@click.command("rerank", short_help="Rank texts by a query.")
@click.argument("query")
@file_argument
@click.option(
    "--model",
    "-m",
    shell_complete=complete_rerankers,
    help="What scores the texts.  [default: one that is here, else ms-marco-minilm-l6-v2]",
)
@input_option
@field_option
@click.option("--top-k", type=Whole(1), metavar="N", help="Write only the N best.")
@truncate_option
@threads_option
@offline_option
@no_progress_option
@click.pass_context
def command(
    ctx: click.Context,
    query: str,
    file: str | None,
    model: str | None,
    form: str,
    field: str,
    top_k: int | None,
    truncate: bool,
    threads: int | None,
    offline: bool,
    quiet: bool,
) -> None:
    """Write the texts in FILE in the order in which they answer QUERY, the best first.

    '-' is standard input. A text is a line, or a field of a line of JSON. A line of the result is
    {"index": ..., "score": ..., "text": ...} and the other fields of the JSON line that it is of;
    "index" counts the lines from 0 on. A line that is not a text, or too long beside the query, is
    reported by its number and left out, and the exit status is then 1.
    """
    from cactus.cli.models import find_text_model
    from cactus.errors import ContextLengthExceeded
    from cactus.model import Model
    from cactus.progress import show_progress

    query, failed = whole_characters(query), False

    def report(number: int, reason: str) -> None:
        nonlocal failed
        failed = True
        complain(f"{name_of_input(file)}, line {number}: {reason}")

    lines = []
    with opened(file) as stream:
        for line in read_lines(stream, form, field):
            if isinstance(line, Line):
                lines.append(line)
            else:
                report(line.number, line.reason)
    folder = find_text_model(model, "rerank", offline=offline)
    with ExitStack() as stack:
        loaded = stack.enter_context(Model(folder, threads=threads, preload=True))
        shown = False if quiet else stack.enter_context(show_progress("texts"))
        texts = [line.text for line in lines]
        try:
            ranked = loaded.rerank(query, texts, truncate=truncate, progress=shown)
        except ContextLengthExceeded:
            ranked = [] if truncate else _those_that_fit(loaded, query, lines, report)
            if not ranked:  # it is the query that is too long
                raise
    for each in ranked[:top_k]:
        line = lines[each.index]
        row = {**line.fields, "index": line.number - 1, "score": each.score, field: line.text}
        click.echo(json_line(row))
    ctx.exit(int(failed))


def _those_that_fit(
    model: Model, query: str, lines: Sequence[Line], report: Callable[[int, str], None]
) -> list[RankedText]:
    """One by one, the best first; those over the limit are reported and left out."""
    from cactus.errors import ContextLengthExceeded

    ranked = []
    for index, line in enumerate(lines):
        try:
            (one,) = model.rerank(query, [line.text], progress=False)
        except ContextLengthExceeded as error:
            report(line.number, too_long(error))
        else:
            ranked.append(replace(one, index=index))
    return sorted(ranked, key=lambda each: -each.score)
