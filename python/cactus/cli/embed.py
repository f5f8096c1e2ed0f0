"""``cactus embed``: the vectors of texts, from lines to lines, or of images."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from cactus.cli.complete import complete_embedders
from cactus.cli.images import is_image_file, load_images
from cactus.cli.options import Whole, no_progress_option, offline_option, threads_option
from cactus.cli.text import whole_characters
from cactus.cli.texts import (
    Line,
    field_option,
    input_option,
    name_of_input,
    opened,
    read_lines,
    too_long,
    truncate_option,
)
from cactus.cli.vectors import Block, VectorWriter, progress_from
from cactus.inputs.lines import Wrong

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cactus import Model
    from cactus.progress import Progress

BLOCK = 1024
"""Texts that are read before vectors are written."""


@click.command("embed", short_help="Make vectors of texts or images.")
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(allow_dash=True))
@click.option(
    "--model",
    "-m",
    shell_complete=complete_embedders,
    help="What makes the vectors.  [default: CACTUS_EMBEDDER, else an embedder that is here, "
    "else all-minilm-l6-v2; with --image one of images, else siglip2-base-patch16-224]",
)
@click.option(
    "--text", "texts", multiple=True, metavar="TEXT", help="A text, instead of a FILE; repeatable."
)
@click.option(
    "--image",
    "of_images",
    is_flag=True,
    help="Each FILE is an image: PNG, JPEG, WebP, GIF or BMP; or a PDF, or a video.",
)
@input_option
@field_option
@click.option(
    "--format",
    "written",
    type=click.Choice(["jsonl", "npy"]),
    default="jsonl",
    show_default=True,
    help="jsonl: an object for each vector; npy: one NumPy array of all.",
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
    files: tuple[str, ...],
    model: str | None,
    texts: tuple[str, ...],
    of_images: bool,
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
    fields of the JSON line that it is of; "index" counts the lines from 0 on. A line that is not
    a text, or too long, is reported by its number and left out, and the exit status is then 1; an
    npy file is then not written.

    With --image there is a line for each FILE, with its name as "file"; of a PDF for each page, of
    a video for 16 frames at most.
    """
    if of_images:
        _check_images(ctx, files)
    elif texts and files:
        raise click.UsageError("Give a FILE or --text, not both.")
    elif len(files) > 1:
        raise click.UsageError("Give one FILE of texts, or --image and several images.")
    elif files and is_image_file(files[0]):
        raise click.UsageError(f"{files[0]} is not a file of texts; images need --image.")
    if written == "npy" and output is None and sys.stdout.isatty():
        raise click.UsageError("npy is not for a terminal; give --output FILE.")

    from cactus.cli.models import find_image_embedder, find_text_model
    from cactus.model import Model

    options: dict[str, Any] = {"normalize": normalize}
    with ExitStack() as stack:
        job: VectorWriter
        if of_images:
            folder = find_image_embedder(model, offline=offline)
            loaded = stack.enter_context(Model(folder, threads=threads, preload=True))
            job = _Images(loaded, files, options, quiet)
        else:
            options |= {"prompt": prompt, "dimensions": dimensions, "truncate": truncate}
            file = files[0] if files else None
            given = _lines(ctx, stack, file, texts, form, field, output)
            folder = find_text_model(model, "embed", offline=offline)
            loaded = stack.enter_context(Model(folder, threads=threads, preload=True))
            name = "--text" if texts else f"{name_of_input(file)}, line"
            job = _Texts(loaded, given, options, name, quiet)
        write = job.write_array if written == "npy" else job.write_lines
        write(output)
    ctx.exit(int(job.failed))


def _check_images(ctx: click.Context, files: Sequence[str]) -> None:
    """Raises UsageError for --image without a FILE, or with what is for texts alone."""
    if not files:
        raise click.UsageError("--image: give the image FILEs.")
    for name in ("texts", "form", "field", "prompt", "dimensions", "truncate"):
        if ctx.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE:
            option = next(each.opts[0] for each in ctx.command.params if each.name == name)
            raise click.UsageError(f"{option} is for texts, and --image for images.")


def _lines(
    ctx: click.Context,
    stack: ExitStack,
    file: str | None,
    texts: Sequence[str],
    form: str,
    field: str,
    output: Path | None,
) -> Iterator[Line | Wrong]:
    """The texts of the command. Raises UsageError where there are none to read."""
    if texts:
        return iter(Line(number, whole_characters(text)) for number, text in enumerate(texts, 1))
    if file is not None:
        click.Path(exists=True, dir_okay=False, allow_dash=True).convert(file, None, ctx)
    stream = stack.enter_context(opened(file))
    if output is not None and _is_same(stream, output):
        raise click.UsageError(f"{output} is what is read; give --output another file.")
    return read_lines(stream, form, field)


class _Texts(VectorWriter):
    """The texts of one command; `name` is what a message calls where they are from."""

    def __init__(
        self,
        model: Model,
        given: Iterator[Line | Wrong],
        options: dict[str, Any],
        name: str,
        quiet: bool,
    ) -> None:
        self._model, self._given, self._options = model, given, options
        self._name, self._quiet = name, quiet

    def empty(self) -> NDArray[np.float32]:
        return self._model.embed([], **self._options)

    def blocks(self) -> Iterator[Block]:
        from cactus.progress import show_progress

        with ExitStack() as stack:
            shown = None if self._quiet else stack.enter_context(show_progress("texts"))
            done = 0
            while block := list(islice(self._given, BLOCK)):
                lines = []
                for line in block:
                    if isinstance(line, Wrong):
                        self._left_out(line.number, line.reason)
                    else:
                        lines.append(line)
                if lines:
                    kept, vectors = self._vectors(lines, progress_from(shown, done))
                    yield [{**line.fields, "index": line.number - 1} for line in kept], vectors
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

        kept, vectors = [], [self.empty()]
        for line in lines:
            try:
                vectors.append(self._model.embed([line.text], progress=False, **self._options))
            except ContextLengthExceeded as error:
                self._left_out(line.number, too_long(error))
            else:
                kept.append(line)
        return kept, np.concatenate(vectors)

    def _left_out(self, number: int, reason: str) -> None:
        self.report(f"{self._name} {number}: {reason}")


class _Images(VectorWriter):
    """The image files of one command."""

    def __init__(
        self, model: Model, files: Sequence[str], options: dict[str, Any], quiet: bool
    ) -> None:
        self._model, self._files, self._options, self._quiet = model, files, options, quiet

    def empty(self) -> NDArray[np.float32]:
        return self._model.embed_image([], **self._options)

    def blocks(self) -> Iterator[Block]:
        from cactus.errors import InvalidImage
        from cactus.progress import show_progress

        with ExitStack() as stack:
            shown = None if self._quiet else stack.enter_context(show_progress("images"))
            for index, file in enumerate(self._files):
                try:
                    images = load_images(file)
                    pictures = [image.picture for image in images]
                    vectors = self._model.embed_image(pictures, progress=False, **self._options)
                except InvalidImage as error:
                    self.report(str(error))
                else:
                    yield [{"file": image.name, "index": index} for image in images], vectors
                if shown is not None:
                    shown("embedding", index + 1, len(self._files))


def _is_same(stream: IO[bytes], output: Path) -> bool:
    """Whether what is read is the file that would be written, which empties it."""
    try:
        read, written = os.fstat(stream.fileno()), output.stat()
    except OSError:
        return False
    return stat.S_ISREG(written.st_mode) and os.path.samestat(read, written)
