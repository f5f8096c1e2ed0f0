"""Texts that a command reads line by line, and what of a line goes to its result."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

import click

from cactus.inputs.lines import Wrong, numbered_lines, parse_row
from cactus.inputs.text import clean_text

if TYPE_CHECKING:
    from cactus.errors import ContextLengthExceeded

STDIN = "-"
FORMS = ("auto", "lines", "jsonl")

file_argument = click.argument(
    "file", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)

field_option = click.option(
    "--field",
    default="text",
    show_default=True,
    metavar="NAME",
    help="The field of a JSON line that is the text; all others go to its result.",
)

input_option = click.option(
    "--input",
    "form",
    type=click.Choice(FORMS),
    default="auto",
    show_default=True,
    help="lines: each line is a text; jsonl: each is a JSON object; auto: jsonl if the first "
    "line begins with {.",
)

truncate_option = click.option(
    "--truncate", is_flag=True, help="Read only the beginning of a text that is too long."
)


@dataclass(frozen=True)
class Line:
    """One text, the number of its line (from 1 on) and the other fields of that."""

    number: int
    text: str
    fields: dict[str, Any] = field(default_factory=dict)


@contextmanager
def opened(file: str | None) -> Iterator[IO[bytes]]:
    """The bytes of a file; of what is piped in for "-", or where no file is named."""
    if file is not None and file != STDIN:
        with open(file, "rb") as stream:
            yield stream
        return
    if sys.stdin.isatty():
        raise click.UsageError("Give a FILE, or pipe texts into the command.")
    yield sys.stdin.buffer


def name_of_input(file: str | None) -> str:
    """What a message calls it."""
    return "standard input" if file in (None, STDIN) else str(file)


def too_long(error: ContextLengthExceeded) -> str:
    """Why a line is left out, behind its number."""
    return (
        f"has {error.prompt_tokens} tokens, and the model takes {error.limit}; "
        "--truncate reads the beginning"
    )


def read_lines(stream: IO[bytes], form: str, name: str) -> Iterator[Line | Wrong]:
    """The texts of a stream, one a line, as they come; `name` is the field of JSON that is one.

    Empty lines are empty texts, or between JSON objects nothing.
    """
    for line in numbered_lines(stream):
        if isinstance(line, Wrong):
            yield line
            continue
        number, text = line
        if form == "auto":
            form = "jsonl" if text.lstrip().startswith("{") else "lines"
        if form == "lines":
            yield Line(number, text)
        elif text.strip():
            yield _object(number, text, name)


def _object(number: int, line: str, name: str) -> Line | Wrong:
    try:
        row = parse_row(line)
    except ValueError as error:
        return Wrong(number, str(error))
    text = row.pop(name, None)
    if not isinstance(text, str):
        got = "nothing" if text is None else type(text).__name__
        return Wrong(number, f"has no text in its field {name!r}: got {got}")
    return Line(number, clean_text(text), row)
