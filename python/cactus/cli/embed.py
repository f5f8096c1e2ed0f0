"""``cactus embed``: the vectors of texts, from lines to lines."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from cactus.cli.complete import complete_embedders
from cactus.cli.options import Whole, no_progress_option, offline_option, threads_option
from cactus.cli.text import complain, whole_characters
from cactus.cli.texts import (
    Line,
    Wrong,
    field_option,
    file_argument,
    input_option,
    json_line,
    name_of_input,
    opened,
    read_lines,
    too_long,
    truncate_option,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cactus import Model
    from cactus.progress import Progress

BLOCK = 1024
"""Texts that are read before vectors are written."""


@click.command("embed", short_help="Make vectors of texts.")
@file_argument
@click.option(
    "--model",
    shell_complete=complete_embedders,
    help="What makes the vectors.  [default: CACTUS_EMBEDDER, else an embedder that is here, "
    "else all-minilm-l6-v2]",
)
@click.option(
    "--text", "texts", multiple=True, metavar="TEXT", help="A text, instead of a FILE; repeatable."
)
@input_option
@field_option
@click.option(
    "--format",
    "written",
    type=click.Choice(["jsonl", "npy"]),
    default="jsonl",
    show_default=True,
    help="jsonl: an object for each text; npy: one NumPy array of all.",
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Write into this file instead of stdout.",
)
@click.option(
    "--prompt",
    metavar="NAME",
    help="What the texts are for: query, document, or another prompt of the model.",
)
@click.option(
    "--dimensions", type=Whole(1), metavar="N", help="Cut the vectors, if the model allows it."
)
@click.option(
    "--normalize/--no-normalize",
    default=None,
    help="Vectors of length 1, or as they come.  [default: as the model has it]",
)
@truncate_option
@threads_option
@offline_option
@no_progress_option
@click.pass_context
def command(
    ctx: click.Context,
    file: str | None,
    model: str | None,
    texts: tuple[str, ...],
    form: str,
    field: str,
    written: str,
    output: Path | None,
    prompt: str | None,
    dimensions: int | None,
    normalize: bool | None,
    truncate: bool,
    threads: int | None,
    offline: bool,
    quiet: bool,
) -> None:
    """Write the vector of each text in FILE: of each line, or of each line of JSON.

    '-' is standard input. A line of the result is {"index": ..., "embedding": [...]} and the other
    fields of the JSON line that it is of; "index" counts the lines from 0 on. A line that is no
    text, or too long, is reported by its number and left out, and the exit status is then 1; an
    npy file is then not written.
    """
    if texts and file is not None:
        raise click.UsageError("Give a FILE or --text, not both.")
    if written == "npy" and output is None and sys.stdout.isatty():
        raise click.UsageError("npy is not for a terminal; give --output FILE.")

    from cactus.cli.models import find_text_model
    from cactus.model import Model

    options = {
        "prompt": prompt,
        "dimensions": dimensions,
        "normalize": normalize,
        "truncate": truncate,
    }
    with ExitStack() as stack:
        if texts:
            given: Iterator[Line | Wrong] = iter(
                Line(number, whole_characters(text)) for number, text in enumerate(texts, 1)
            )
        else:
            stream = stack.enter_context(opened(file))
            if output is not None and _is_same(stream, output):
                raise click.UsageError(f"{output} is what is read; give --output another file.")
            given = read_lines(stream, form, field)
        folder = find_text_model(model, "embed", offline=offline)
        loaded = stack.enter_context(Model(folder, threads=threads, preload=True))
        job = _Job(loaded, options, "--text" if texts else f"{name_of_input(file)}, line", quiet)
        write = job.write_array if written == "npy" else job.write_lines
        write(given, output)
    ctx.exit(int(job.failed))


class _Job:
    """The texts of one command. `failed`: a line was left out."""

    def __init__(self, model: Model, options: dict[str, Any], name: str, quiet: bool) -> None:
        self._model, self._options = model, options
        self._name, self._quiet = name, quiet
        self.failed = False

    def write_lines(self, given: Iterator[Line | Wrong], output: Path | None) -> None:
        """A line of JSON for each text, after each block."""
        blocks = self._blocks(given)
        begun = list(islice(blocks, 1))  # before a file is emptied: an option may be wrong
        with ExitStack() as stack:
            target = sys.stdout
            if output is not None:
                target = stack.enter_context(output.open("w", encoding="utf-8"))
            for lines, vectors in chain(begun, blocks):
                for line, vector in zip(lines, vectors, strict=True):
                    numbers = [float(f"{value:.9g}") for value in vector.tolist()]
                    row = {**line.fields, "index": line.number - 1, "embedding": numbers}
                    print(json_line(row), file=target)
                target.flush()

    def write_array(self, given: Iterator[Line | Wrong], output: Path | None) -> None:
        """One array [texts, dimensions] of all, if every line was a text."""
        import numpy as np

        blocks = [vectors for _, vectors in self._blocks(given)]
        if self.failed:
            return
        whole = np.concatenate([self._model.embed([], **self._options), *blocks])
        if output is None:
            np.save(sys.stdout.buffer, whole)
        else:
            with output.open("wb") as file:  # np.save would add a suffix to the name
                np.save(file, whole)

    def _blocks(
        self, given: Iterator[Line | Wrong]
    ) -> Iterator[tuple[list[Line], NDArray[np.float32]]]:
        from cactus.progress import show_progress

        with ExitStack() as stack:
            shown = None if self._quiet else stack.enter_context(show_progress("texts"))
            done = 0
            while block := list(islice(given, BLOCK)):
                lines = []
                for line in block:
                    if isinstance(line, Wrong):
                        self._report(line.number, line.reason)
                    else:
                        lines.append(line)
                if lines:
                    yield self._vectors(lines, _from(shown, done))
                done += len(block)
            if shown is not None and done:
                shown("embedding", done, done)

    def _vectors(
        self, lines: list[Line], shown: Progress | None
    ) -> tuple[list[Line], NDArray[np.float32]]:
        from cactus.errors import ContextLengthExceeded

        try:
            texts = [line.text for line in lines]
            return lines, self._model.embed(texts, progress=shown or False, **self._options)
        except ContextLengthExceeded:
            return self._those_that_fit(lines)

    def _those_that_fit(self, lines: list[Line]) -> tuple[list[Line], NDArray[np.float32]]:
        """One by one; those over the limit are left out."""
        import numpy as np

        from cactus.errors import ContextLengthExceeded

        kept, vectors = [], [self._model.embed([], **self._options)]
        for line in lines:
            try:
                vectors.append(self._model.embed([line.text], progress=False, **self._options))
            except ContextLengthExceeded as error:
                self._report(line.number, too_long(error))
            else:
                kept.append(line)
        return kept, np.concatenate(vectors)

    def _report(self, number: int, reason: str) -> None:
        self.failed = True
        complain(f"{self._name} {number}: {reason}")


def _is_same(stream: IO[bytes], output: Path) -> bool:
    """Whether what is read is the file that would be written, which empties it."""
    try:
        read, written = os.fstat(stream.fileno()), output.stat()
    except OSError:
        return False
    return stat.S_ISREG(written.st_mode) and os.path.samestat(read, written)


def _from(shown: Progress | None, done: int) -> Progress | None:
    """Progress of a block as that of all, whose number nobody knows."""
    return shown and (lambda label, count, _: shown(label, done + count, 0))
