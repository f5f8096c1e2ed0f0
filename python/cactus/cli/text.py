"""Text from outside on its way to a terminal."""

from __future__ import annotations

import os
import sys
import textwrap

import click

from cactus.printable import megabytes as megabytes
from cactus.printable import printable as printable


def whole_characters(text: str) -> str:
    """What was typed, where the locale knows no UTF-8 and Python could not decode it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text


def complain(text: str) -> None:
    """A line about what went wrong, on stderr."""
    click.echo(f"cactus: {printable(text)}", err=True)


def note(text: str) -> None:
    """A line that is not part of the result, dimmed and on stderr; a terminal gets whole words."""
    shown = f"[{printable(text)}]"
    if sys.stderr.isatty():
        shown = textwrap.fill(shown, _columns(), break_long_words=False, break_on_hyphens=False)
    click.secho(shown, dim=True, err=True)


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80
