"""Text from outside on its way to a terminal."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from typing import IO

import click

from cactus.inputs.text import megabytes as megabytes
from cactus.inputs.text import printable as printable
from cactus.inputs.text import reason_of


def whole_characters(text: str) -> str:
    """What was typed, where the locale knows no UTF-8 and Python could not decode it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text


def is_terminal(stream: IO[str]) -> bool:
    """Whether it is a terminal that knows control sequences; a dumb one would show them."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def message_of(error: Exception) -> str:
    """An error in words; one of the system's with its file, and without its number."""
    file = getattr(error, "filename2", None) or getattr(error, "filename", None)
    if isinstance(file, (str, bytes, os.PathLike)):
        return f'"{os.fsdecode(file)}": {reason_of(error)}'
    return reason_of(error)


def complain(text: str) -> None:
    """A line about what went wrong, on stderr."""
    click.echo(f"cactus: {printable(text)}", err=True)


def note(text: str) -> None:
    """A line that is not part of the result, dimmed and on stderr; a terminal gets whole words."""
    shown = f"[{printable(text)}]"
    if sys.stderr.isatty():
        shown = textwrap.fill(
            shown, columns(sys.stderr), break_long_words=False, break_on_hyphens=False
        )
    click.secho(shown, dim=True, color=is_terminal(sys.stderr), err=True)


def table(rows: Sequence[tuple[str, str]], indent: int = 0) -> str:
    """Names and what they mean, in two columns; a terminal gets whole words below each other."""
    formatter = click.HelpFormatter(width=columns(sys.stdout) if sys.stdout.isatty() else 10_000)
    formatter.current_indent = indent
    formatter.write_dl([(printable(name), printable(text)) for name, text in rows])
    return formatter.getvalue().rstrip("\n")


def counted(count: int, one: str) -> str:
    """ "1 file", "2,000 files"."""
    return f"{count:,} {one if count == 1 else one + 's'}"


def columns(stream: IO[str]) -> int:
    """How wide a terminal is; 80 where it does not say."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except OSError:
        return 80
