"""An answer on its way to the screen."""

from __future__ import annotations

import os
import sys
import time
from typing import IO, TYPE_CHECKING, Any

import click

from cactus.cli.progress import Late
from cactus.cli.status_line import StatusLine
from cactus.cli.text import is_terminal, printable
from cactus.cli.wrap import WordWrap
from cactus.types import StreamEvent

if TYPE_CHECKING:
    from typing_extensions import Self

    from cactus.agent.results import ToolEvent
    from cactus.types import Completion


LOOK_SECONDS = 1.0
"""How long images may be looked at without a sign of it."""


class Printer:
    """Prints one answer as it comes: text to stdout, what is thought before it dimmed to stderr.

    A context manager: until the first token comes a terminal shows that the prompt is read, and at
    the end the line that has begun is ended.
    """

    def __init__(self, *, quiet: bool, wrap: bool) -> None:
        self._quiet = quiet
        self._inside = ""  # "text" or "reasoning": of which a line has begun and not ended
        self._text = _wrapping(sys.stdout) if wrap else None
        self._thoughts = _wrapping(sys.stderr) if wrap else None
        self._waiting = Late("reading ...", quiet=quiet or not sys.stdout.isatty())
        self._looking = StatusLine(quiet=quiet)
        self._looked_since: float | None = None

    def __enter__(self) -> Self:
        self._waiting.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def pause(self) -> None:
        """End the line that has begun: something else is to be written."""
        self._end_waiting()
        if self._inside == "text":
            print(flush=True)
        elif self._inside:
            click.echo(err=True)
        self._inside = ""

    def show(self, event: StreamEvent | ToolEvent) -> None:
        """Print the text of an event."""
        shown = printable(event.text)
        if not shown or (event.kind == "reasoning" and self._quiet):
            return
        self._end_waiting()
        if self._inside == "reasoning" and event.kind == "text":
            click.echo("\n", err=True)
        if event.kind == "reasoning":
            thought = self._thoughts.feed(shown) if self._thoughts else shown
            click.secho(thought, dim=True, color=is_terminal(sys.stderr), nl=False, err=True)
        else:
            sys.stdout.write(self._text.feed(shown) if self._text else shown)
            sys.stdout.flush()
        self._inside = "" if shown.endswith("\n") else event.kind

    def look(self, label: str, done: int, total: int) -> None:
        """Show how many tiles of images have been looked at, where that takes a while."""
        line = f"{label}: {done} of {total} tiles" if done < total else "reading ..."
        if self._looked_since is None:
            self._looked_since = time.monotonic()
            self._waiting.clear()
            self._waiting = Late(line, quiet=self._quiet, seconds=LOOK_SECONDS).__enter__()
        elif time.monotonic() - self._looked_since >= LOOK_SECONDS:
            self._waiting.clear()
            self._looking.show(lambda columns: line[:columns])

    def _end_waiting(self) -> None:
        self._waiting.clear()
        if self._looked_since is not None:
            self._looking.clear()
            self._looked_since = None

    def show_whole(self, completion: Completion) -> None:
        """Print an answer that has ended."""
        self.show(StreamEvent(completion.reasoning or "", -1, "reasoning"))
        self.show(StreamEvent(completion.text, -1))


def _wrapping(stream: IO[Any]) -> WordWrap | None:
    if not is_terminal(stream):
        return None

    def columns() -> int:
        try:
            return os.get_terminal_size(stream.fileno()).columns or 80
        except OSError:
            return 80

    return WordWrap(columns)
