"""What ``cactus run`` is asked: words, --prompt, and text that is piped in."""

from __future__ import annotations

import os
import select
import stat
import sys
from contextlib import suppress

import click

from cactus.cli.text import note, whole_characters

PATIENCE = 2.0
"""Seconds after which a pipe that is silent is mentioned."""


def prompt_of(words: tuple[str, ...], option: str | None) -> str | None:
    """The prompt, or None for a chat. Raises a usage error where two are given, or an empty one.

    Text that is piped in stands before what is asked, with an empty line between.
    """
    if words and option is not None:
        raise click.UsageError("The prompt is given twice: as words and with --prompt.")
    asked = " ".join(words) if words else option
    explicit = asked == "-"
    if explicit:
        asked = None
    piped = None
    if explicit or (not sys.stdin.isatty() and (asked is None or _is_pipe_or_file())):
        piped = _standard_input()
    if asked is None and piped is None:
        return None
    parts = [part for part in (piped, asked and whole_characters(asked)) if part and part.strip()]
    if not parts:
        raise click.UsageError("The prompt is empty.")
    return "\n\n".join([*(part.rstrip("\n") for part in parts[:-1]), parts[-1]])


def _is_pipe_or_file() -> bool:
    """Whether somebody has put something there, not a device such as /dev/null."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):  # a test's, or a notebook's
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _standard_input() -> str:
    """All of it. Says that it waits where nothing comes: some programs leave a pipe open."""
    if sys.stdin.isatty():
        return whole_characters(sys.stdin.read())
    with suppress(OSError, ValueError):
        if not select.select([sys.stdin], [], [], PATIENCE)[0]:
            note("waiting for the end of standard input; '< /dev/null' leaves it out")
    data = sys.stdin.buffer.read()
    try:
        return data.decode(sys.stdin.encoding)
    except UnicodeDecodeError as error:
        raise click.UsageError(
            f"Standard input is not {error.encoding} text: byte 0x{data[error.start]:02x} "
            f"at offset {error.start}."
        ) from None
