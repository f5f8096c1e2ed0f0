"""Reading messages from a terminal: editing, history, several lines, completion.

The standard library's readline does the editing: GNU readline and libedit are what people's other
shells use, so their keys and their .inputrc hold here.
"""

from __future__ import annotations

import json
import locale
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from cactus.cli.text import is_terminal, whole_characters

QUOTES = '"""'
PROMPT, MORE = "> ", ". "
REMEMBERED = 1000
"""Messages that the history keeps."""


def history_file() -> Path:
    """Where the messages of earlier chats are kept."""
    import platformdirs

    return Path(platformdirs.user_state_path("cactus", appauthor=False)) / "chat_history.jsonl"


class LineReader:
    """Reads one message; lines that belong together are one message.

    They do if they are pasted together, between `\"""`, or if the one before ends with a backslash.
    `history` is the file of earlier messages, None for none; `words` gives what Tab completes at
    the beginning of a line. `prompt` is what stands before what is typed.
    """

    def __init__(self, history: Path | None, words: Callable[[str], Sequence[str]]) -> None:
        self.history = history
        self.prompt = PROMPT
        self._words = words
        self._bold = False
        _leave_ascii()
        try:
            import readline
        except ImportError:  # a Python without it: no editing, the same reading
            self._readline = None
            return
        self._readline = readline
        libedit = "libedit" in (readline.__doc__ or "")
        # With bracketed paste GNU readline takes a pasted text as one line, newlines and all;
        # libedit does not know it, there `_pasted_lines` joins the lines.
        if not libedit:
            self._bold = is_terminal(sys.stdout)
            if self._bold:
                readline.parse_and_bind("set enable-bracketed-paste on")
        readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
        readline.set_completer_delims("\n")
        readline.set_completer(self._complete)
        readline.set_auto_history(False)  # a message may have several lines
        for message in _read_history(history) if history else []:
            self._offer(message)

    def __call__(self) -> str:
        """The next message. Raises EOFError at the end, KeyboardInterrupt for Ctrl-C."""
        text = self._read()
        if text.strip():
            self._remember(text)
        start = text.lstrip()
        if start.startswith(QUOTES) and start.rstrip().endswith(QUOTES) and len(start) >= 6:
            return start.rstrip()[3:-3].strip("\n")
        return text

    def _read(self) -> str:
        text = "\n".join([self._line(self.prompt), *self._pasted_lines()])
        while True:
            if text.lstrip().startswith(QUOTES):
                if text.count(QUOTES) > 1:
                    return whole_characters(text)
                text += "\n"
            elif text.endswith("\\") and not text.endswith("\\\\"):
                text = text[:-1] + "\n"
            else:
                return whole_characters(text)
            text += "\n".join([self._line(MORE), *self._pasted_lines()])

    def _line(self, prompt: str) -> str:
        if not sys.stdout.isatty():  # answers go to a file, which is not to have prompts in it
            print(prompt, end="", file=sys.stderr, flush=True)
            return input()
        return input(f"\001\033[1m\002{prompt}\001\033[0m\002" if self._bold else prompt)

    def _pasted_lines(self) -> Iterator[str]:
        # Nobody types the next line within a fiftieth of a second of the last. Windows cannot wait
        # for a terminal.
        while os.name != "nt" and select.select([sys.stdin], [], [], 0.02)[0]:
            try:
                yield input()
            except EOFError:
                return

    def _remember(self, text: str) -> None:
        self._offer(text)
        if self.history is not None:
            with suppress(OSError):  # a home that cannot be written to ends no chat
                _append_history(self.history, text)

    def _offer(self, message: str) -> None:
        """Let the Up key bring it back."""
        with suppress(UnicodeError):  # a locale that has not all of its characters
            if self._readline is not None:
                self._readline.add_history(message)

    def _complete(self, text: str, state: int) -> str | None:
        found = self._words(text)
        return found[state] if state < len(found) else None


def _leave_ascii() -> None:
    """Have readline take UTF-8 in the C locale, as Python does: it takes other bytes for keys."""
    with suppress(locale.Error):
        if locale.setlocale(locale.LC_CTYPE) in ("C", "POSIX"):
            locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
            os.environ["LC_ALL"] = "C.UTF-8"  # which it asks for itself


def _read_history(file: Path) -> list[str]:
    """The last messages, oldest first; a file that has grown long is written anew."""
    try:
        lines = file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    if len(lines) > 2 * REMEMBERED:
        fresh = file.with_name(f"{file.name}.{os.getpid()}")
        with suppress(OSError), os.fdopen(_private(fresh), "w", encoding="utf-8") as out:
            out.write("".join(f"{line}\n" for line in lines[-REMEMBERED:]))
            fresh.replace(file)
    messages = []
    for line in lines[-REMEMBERED:]:
        with suppress(ValueError):
            message = json.loads(line)
            if isinstance(message, str) and "\0" not in message:
                messages.append(message)
    return messages


def _append_history(file: Path, text: str) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # One write at the end of the file: chats in two terminals do not mix their lines.
    with os.fdopen(_private(file), "ab", buffering=0) as out:
        out.write(json.dumps(text).encode() + b"\n")


def _private(file: Path) -> int:
    """A descriptor of a file that only its owner can read, for appending."""
    return os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
