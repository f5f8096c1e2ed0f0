"""``cactus describe``: what is to be seen in images, one after another."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cactus.cli.complete import complete_seeing
from cactus.cli.images import Attached, Tell, is_part, load_image, names_of
from cactus.cli.options import (
    image_options,
    max_tokens_option,
    offline_option,
    threads_option,
)
from cactus.cli.targets import check_targets
from cactus.cli.text import complain, counted, message_of, note, printable, whole_characters

if TYPE_CHECKING:
    from cactus import Completion, Model

PROMPT = "Describe this image."
SUFFIXES = {"text": ".txt", "json": ".json"}


@click.command("describe", short_help="Describe images.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path())
@click.option(
    "--model",
    "-m",
    shell_complete=complete_seeing,
    help="A model that can see: a name, a Hugging Face id or a folder.  [default: one that is "
    "here, else lfm2-vl-450m]",
)
@click.option(
    "--prompt",
    "-p",
    metavar="TEXT",
    default=PROMPT,
    show_default=True,
    help="What is asked about each image.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(list(SUFFIXES)),
    default="text",
    show_default=True,
    help="text has titles where there are several; json is a line for each image.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write a file for each image into this folder and print its path.",
)
@max_tokens_option
@image_options
@threads_option
@offline_option
@click.option("--quiet", "-q", is_flag=True, help="Show no progress and no summary.")
@click.pass_context
def command(
    ctx: click.Context,
    files: tuple[str, ...],
    model: str | None,
    prompt: str,
    form: str,
    output: Path | None,
    max_tokens: int,
    max_tiles: int | None,
    max_image_tokens: int | None,
    frames: int | None,
    threads: int | None,
    offline: bool,
    quiet: bool,
) -> None:
    """Write what a model sees in each FILE: PNG, JPEG, WebP, GIF, BMP, the pages of a PDF, or
    frames of a video.

    Each image is a conversation of its own, and the likeliest answer is taken, so that the same
    image has the same text again. The model is fetched the first time. A FILE that is not an image,
    or too large for the model, is reported and the others go on; the exit status is then 1.
    """
    tell = None if quiet else note
    names = [name for file in files for name in _readable(file, frames, tell)]
    failed = None in names
    jobs = [_Job(name, form, output) for name in names if name is not None]
    check_targets((job.name, job.target) for job in jobs if job.target is not None)
    if not jobs:
        ctx.exit(1)

    from cactus.cli.interrupt import stop_at_interrupt
    from cactus.cli.models import find_seeing
    from cactus.cli.process import INTERRUPTED
    from cactus.errors import ContextLengthExceeded, InvalidImage
    from cactus.model import Model

    folder = find_seeing(model, offline=offline)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
    limits = {"max_tiles": max_tiles, "max_image_tokens": max_image_tokens}
    options = {name: value for name, value in limits.items() if value is not None}
    options |= {"max_tokens": max_tokens, "stop_loops": True}
    with (
        Model(folder, threads=threads, preload=True) as loaded,
        stop_at_interrupt(loaded.stop) as interrupted,
    ):
        writer = _Writer(loaded, whole_characters(prompt), options, interrupted, quiet)
        for number, job in enumerate(jobs, 1):
            writer.place = f" [{number}/{len(jobs)}]" if len(jobs) > 1 else ""
            try:
                job.run(writer, titled=len(names) > 1)
            except BrokenPipeError:
                raise
            except (InvalidImage, ContextLengthExceeded, OSError) as error:
                text = message_of(error)
                complain(text if job.name in text else f"{job.name}: {text}")
                failed = True
            if interrupted():
                ctx.exit(INTERRUPTED)
    ctx.exit(int(failed))


def _readable(file: str, frames: int | None, tell: Tell | None) -> list[str | None]:
    """The names of the images that a file is; None, and why is said, where it is none."""
    from cactus.errors import InvalidImage
    from cactus.images.door import measure

    try:
        names = names_of(file, frames, tell)
        if names == [file] and not is_part(file):
            measure(file)
    except InvalidImage as error:
        complain(str(error))
        return [None]
    return list(names)


@dataclass
class _Job:
    """One image: how what is seen in it is written, and where."""

    name: str
    form: str
    folder: Path | None

    @property
    def target(self) -> Path | None:
        """The file to write, None for stdout; that of page 3 of ``a.pdf`` is ``a-3.txt``."""
        file, _, part = self.name.rpartition("#") if is_part(self.name) else (self.name, "", "")
        stem = Path(file).stem + (part and f"-{part}")
        return self.folder and self.folder / (stem + SUFFIXES[self.form])

    def run(self, writer: _Writer, titled: bool) -> None:
        """Describe it. Raises what loading the image, the model and writing the text do."""
        image = load_image(self.name)
        shown = self.form == "text" and self.target is None
        if shown and titled:
            writer.title(self.name)
        done = writer.describe(image, shown)
        if writer.stopped() and not shown:
            return
        text = done.text.strip() if self.form == "text" else _json(image, done)
        if self.target is not None:
            from cactus.inputs.files import replace_file

            replace_file(self.target, f"{text}\n".encode("utf-8", "replace"))
            click.echo(self.target)
        elif not shown:
            click.echo(text)


class _Writer:
    """A model that is shown images one after another. `place` says which of how many it is."""

    def __init__(
        self,
        model: Model,
        prompt: str,
        options: dict[str, Any],
        stopped: Callable[[], bool],
        quiet: bool,
    ) -> None:
        self._model, self._prompt, self._options = model, prompt, options
        self._quiet, self._titles = quiet, 0
        self.stopped = stopped
        self.place = ""

    def title(self, name: str) -> None:
        """Print which image the text below it is of."""
        click.echo(f"{chr(10) if self._titles else ''}==> {printable(name)} <==")
        self._titles += 1

    def describe(self, image: Attached, shown: bool) -> Completion:
        """What the model says of an image; printed as it comes if it is to be `shown`."""
        from cactus.cli.answer import Printer

        name, began = os.path.basename(image.name), time.monotonic()
        messages = [{"role": "user", "content": self._prompt, "images": [image.picture]}]
        printer = Printer(quiet=self._quiet, wrap=True)

        def look(label: str, done: int, total: int) -> None:
            printer.look(f"{name}{self.place}: {label}", done, total)

        with (
            printer,
            self._model.stream(messages, image_progress=look, **self._options) as stream,
        ):
            for event in stream:
                if shown:
                    printer.show(event)
            done: Completion = stream.completion
        if not self._quiet:
            cost = done.metrics
            summary = (
                f"{name}: {counted(cost.image_tiles, 'tile')} and "
                f"{counted(cost.decode_tokens, 'token')} in {time.monotonic() - began:.1f} s"
            )
            if done.finish_reason in _ENDS:
                summary += f"; {_ENDS[done.finish_reason]}"
            note(summary)
        return done


_ENDS = {
    "length": "cut at --max-tokens, or at the end of the context",
    "cancelled": "stopped",
    "repetition": "ended because it only repeated itself",
}


def _json(image: Attached, done: Completion) -> str:
    row = {
        "file": image.name,
        "text": done.text.strip(),
        "width": image.picture.width,
        "height": image.picture.height,
        "tiles": done.metrics.image_tiles,
        "image_tokens": done.metrics.image_tokens,
        "finish_reason": done.finish_reason,
    }
    return json.dumps(row, ensure_ascii=False)
