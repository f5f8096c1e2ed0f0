"""The conversation of ``cactus run``: reading, answering, stopping."""

from __future__ import annotations

import select
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from cactus.cli.interrupt import stop_at_interrupt
from cactus.cli.main import INTERRUPTED
from cactus.cli.text import note, printable, whole_characters
from cactus.errors import CactusError, ContextLengthExceeded, ModelClosed

if TYPE_CHECKING:
    from cactus.model import Model
    from cactus.types import Completion, StreamEvent

HELP = """\
/reset   forget the conversation
/exit    leave (Ctrl-D, too)
/help    this
Ctrl-C   stop the answer; once more: leave
Pasted text may have several lines; Enter sends it."""

_READLINE_BOLD_PROMPT = "\001\033[1m\002> \001\033[0m\002"


class Chat:
    """One conversation with a loaded model.

    `options` go to `Model.stream`. The answer goes to stdout, everything else to stderr. `quiet`
    leaves everything else out.
    """

    def __init__(
        self, model: Model, *, system: str | None, options: dict[str, Any], quiet: bool = False
    ) -> None:
        self._model = model
        self._first = [{"role": "system", "content": system}] if system else []
        self._messages = list(self._first)
        self._options = options
        self._quiet = quiet

    def answer_once(self, prompt: str) -> int:
        """Prints one answer; the exit status."""
        return INTERRUPTED if self._answer(prompt).finish_reason == "cancelled" else 0

    def talk(self) -> int:
        """Reads messages until the user leaves; the exit status."""
        read = _LineReader()
        interrupted = False  # by Ctrl-C, with nothing said since
        while True:
            try:
                text = read()
            except EOFError:
                print()
                return 0
            except KeyboardInterrupt:
                print()
                if interrupted:
                    return INTERRUPTED
                interrupted = True
                note("Ctrl-C once more leaves; /help shows the commands.")
                continue
            interrupted = False
            word = text.strip()
            if word == "/exit":
                return 0
            if word == "/reset":
                self._messages = list(self._first)
                self._model.reset()
                note("The conversation is forgotten.")
            elif word == "/help":
                print(HELP)
            elif word.startswith("/") and "\n" not in word and word[1:].isalpha():
                note(f"No command {printable(word)}; /help shows them.")
            elif word:
                interrupted = self._try_to_answer(text)

    def _try_to_answer(self, text: str) -> bool:
        """Answers, or says why not and forgets the message; whether Ctrl-C stopped the answer."""
        try:
            return self._answer(text).finish_reason == "cancelled"
        except ContextLengthExceeded as error:
            note(f"{str(error).rstrip('.')}. /reset starts over.")
        except ModelClosed:
            raise
        except CactusError as error:
            note(str(error))
        return False

    def _answer(self, text: str) -> Completion:
        messages = [*self._messages, {"role": "user", "content": text}]
        printer = _Printer(self._quiet)
        with (
            self._model.stream(messages, **self._options) as stream,
            stop_at_interrupt(self._model.stop),
        ):
            try:
                for event in stream:
                    printer.show(event)
            finally:
                printer.end_line()  # a message begins a line of its own
            completion = stream.completion
        if not completion.text:
            print(flush=True)
        said = {"role": "assistant", "content": completion.text}
        if completion.reasoning:
            said["reasoning_content"] = completion.reasoning
        self._messages = [*messages, said]
        if not self._quiet:
            note(_summary(completion))
        return completion


class _Printer:
    """Prints one answer as it comes: text to stdout, what is thought before it dimmed to stderr."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._inside = ""  # "text" or "reasoning": of which a line has begun and not ended

    def show(self, event: StreamEvent) -> None:
        shown = printable(event.text)
        if not shown or (event.kind == "reasoning" and self._quiet):
            return
        if self._inside == "reasoning" and event.kind == "text":
            click.echo("\n", err=True)
        if event.kind == "reasoning":
            click.secho(shown, dim=True, nl=False, err=True)
        else:
            sys.stdout.write(shown)
            sys.stdout.flush()
        self._inside = "" if shown.endswith("\n") else event.kind

    def end_line(self) -> None:
        if self._inside == "text":
            print(flush=True)
        elif self._inside:
            click.echo(err=True)
        self._inside = ""


def _summary(completion: Completion) -> str:
    cost = completion.metrics
    said = (
        f"{cost.decode_tokens} tokens, {cost.decode_tps:.1f} tok/s, "
        f"first token after {cost.time_to_first_token_ms:.0f} ms"
    )
    if completion.finish_reason == "cancelled":
        return f"stopped; {said}"
    if completion.finish_reason == "length":
        return f"{said}; cut at --max-tokens or the end of the context"
    return said


class _LineReader:
    """Reads one message; lines that are pasted together are one message."""

    def __init__(self) -> None:
        self._prompt = "> "
        try:
            import readline
        except ImportError:  # a Python without it: no editing, the same reading
            return
        # With bracketed paste GNU readline takes a pasted text as one line, newlines and all;
        # libedit does not know it, there `_pasted_lines` joins the lines.
        if "libedit" not in (readline.__doc__ or ""):
            readline.parse_and_bind("set enable-bracketed-paste on")
            if sys.stdout.isatty():
                self._prompt = _READLINE_BOLD_PROMPT

    def __call__(self) -> str:
        return whole_characters("\n".join([input(self._prompt), *self._pasted_lines()]))

    def _pasted_lines(self) -> Iterator[str]:
        # Nobody types the next line within a fiftieth of a second of the last.
        while select.select([sys.stdin], [], [], 0.02)[0]:
            try:
                yield input()
            except EOFError:
                return
