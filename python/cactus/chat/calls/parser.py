"""Cuts an answer into its text and its calls, as they arrive."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from cactus.chat.calls.escaped import read_escaped
from cactus.chat.calls.json_calls import read_calls
from cactus.chat.calls.python_calls import read_lines, read_list
from cactus.chat.calls.sink import JsonSchema
from cactus.chat.calls.source import Broken, Source, Steps
from cactus.chat.calls.syntax import Syntax
from cactus.chat.calls.tagged import read_function, read_tagged

_TAGS = ("tools", "tool", "function_call")
"""Tags that models put around calls instead of their own."""


class Found(NamedTuple):
    """A piece of an answer.

    "text": text to show. "begin": a call of the tool `text` begins. "piece": more of the JSON of
    its arguments. "end": it is whole, and has these `arguments`. "drop": it was no call after all;
    what was read of it comes as text.
    """

    kind: Literal["text", "begin", "piece", "end", "drop"]
    text: str = ""
    arguments: Any = None


class CallParser:
    """Finds the calls in an answer, of those `tools` alone: each name with its parameters' schema.

    What is not a whole call of a declared tool is text, as the model wrote it. White space between
    text and a call belongs to neither; text that goes on behind a call keeps what stood before the
    call. How the answer is cut into pieces makes no difference to what it is in the end.
    """

    def __init__(self, syntax: Syntax, tools: Mapping[str, JsonSchema]) -> None:
        self.source = Source()
        self.tools = tools
        self._syntax = syntax
        self._openers = re.compile("|".join(map(re.escape, syntax.openers)) or "(?!)")
        self._found: list[Found] = []
        self._name: str | None = None
        self._early: list[str] = []  # pieces of arguments that came before the name
        self._spoken = False  # there was text that is not white space
        self._gap = ""  # white space before a call, or before what may become one
        self._after = ""  # white space behind a call
        self._called = False  # a call stood since the last text
        self._muted = False  # the last call that was read is none of a declared tool
        self._raw = ""  # all that was read of a block of calls
        self._steps = self._read()
        next(self._steps, None)

    def push(self, piece: str) -> list[Found]:
        """What `piece` adds to what came before."""
        self.source.text += piece
        next(self._steps, None)
        return self._take()

    def flush(self) -> list[Found]:
        """What was held back; the answer has ended, and a call that is not whole is text."""
        self.source.ended = True
        next(self._steps, None)
        if self._gap and not self._called:
            self._found.append(Found("text", self._gap))
        self._gap = self._after = ""
        return self._take()

    def _take(self) -> list[Found]:
        found, self._found = self._found, []
        return found

    # -- what readers tell

    def name(self, name: str) -> None:
        """The call that is being read is of this tool."""
        self._name = name
        if name in self.tools:
            self._found.append(Found("begin", name))
            self._found += [Found("piece", text) for text in self._early]
        self._early = []

    def piece(self, json_text: str) -> None:
        """More of the JSON of its arguments."""
        if self._name is None:
            self._early.append(json_text)
        elif self._name in self.tools:
            self._found.append(Found("piece", json_text))

    def done(self, arguments: dict[str, Any]) -> None:
        """The call is whole."""
        text = self.source.settle()
        self._raw += text
        self._muted = self._name not in self.tools
        if self._muted:
            self._say(text)
        else:
            self._found.append(Found("end", arguments=arguments))
            self._called = True
            if not self._spoken:
                self._gap = ""
        self._name, self._early = None, []

    # -- the reader of it all

    def _read(self) -> Steps[None]:
        yield from self._read_bare()
        while True:
            opener = yield from self._read_text()
            if not opener:
                return
            if (yield from self._read_block(self._between(opener), self._syntax.closers)):
                yield from self._skip_echo(opener)

    def _read_bare(self) -> Steps[None]:
        """Calls that begin the answer without their markup, alone, in a fence or in a wrong tag."""
        source, syntax = self.source, self._syntax
        if syntax.form not in ("json", "python"):
            return
        first = "{[" if syntax.form == "json" else "["
        while True:
            character = yield from source.space()
            for opener in syntax.openers:
                if (yield from source.sees(opener)):
                    source.at = 0
                    return
            closer = ""
            if character in ("`", "<"):
                closer = yield from self._read_wrapper()
                character = yield from source.space()
            if not character or character not in first:
                break
            if not (yield from self._read_block(self._strict(), (closer,) if closer else ())):
                return
        source.at = 0

    def _read_wrapper(self) -> Steps[str]:
        """Read what begins a fence or stands in a tag like that of the prompt; what ends it."""
        source = self.source
        if (yield from source.skip("```")):
            yield from source.run("\n{[` ")
            return "```"
        for name in _TAGS:
            if (yield from source.skip(f"<{name}>")):
                return f"</{name}>"
        return ""

    def _strict(self) -> Steps[None]:
        if self._syntax.form == "python":
            return read_list(self, strict=True)
        return read_calls(self, bare={"arguments", self._syntax.arguments_key})

    def _between(self, opener: str) -> Steps[None]:
        """The reader of what begins with this opener."""
        source, syntax = self.source, self._syntax

        def read() -> Steps[None]:
            if opener == "<function=":
                yield from read_function(self)
                return
            source.at += len(opener) - opener.endswith("[")
            if syntax.form == "escaped":
                yield from read_escaped(self)
            elif syntax.form == "python":
                listed = (yield from source.space()) == "["
                yield from read_list(self) if listed else read_lines(self)
            else:
                yield from read_tagged(self)

        return read()

    def _read_block(self, reader: Steps[None], closers: tuple[str, ...]) -> Steps[bool]:
        """Calls and the markup around them, or text; whether all of it was as it should be."""
        source = self.source
        self._muted, self._raw = False, ""
        try:
            yield from reader
        except Broken:
            if self._name is not None and self._name in self.tools:
                self._found.append(Found("drop"))
            self._name, self._early = None, []
            source.at = max(source.at, 1)
            self._say(source.settle())
            return False
        yield from self._close(closers)
        text = source.settle()
        self._raw += text
        if self._muted:
            self._say(text)
        return True

    def _skip_echo(self, opener: str) -> Steps[None]:
        """LFM2.5 may write its list of calls once more, behind the markup: that is not text."""
        closer = self._syntax.closers[0] if self._syntax.closers else ""
        echo = self._raw.strip().removeprefix(opener).removesuffix(closer).strip()
        if self._syntax.form == "python" and echo and not self._muted:
            yield from self.source.space()
            if (yield from self.source.skip(echo)):
                self.source.settle()
            else:
                self.source.at = 0

    def _close(self, closers: tuple[str, ...]) -> Steps[None]:
        """Read the end of a block, where it is there, and braces that are too many before it."""
        source = self.source
        begin = source.at
        while (yield from source.space()) == "}":
            source.at += 1
        for closer in closers:
            if (yield from source.skip(closer)):
                return
        if source.ended:
            rest = source.text[source.at :]
            if any(closer.startswith(rest) for closer in ("", *closers)):
                source.at = len(source.text)
                return
        source.at = begin

    def _read_text(self) -> Steps[str]:
        """Show text up to what may be the beginning of calls, which is returned; "" at the end."""
        source, openers = self.source, self._syntax.openers
        while True:
            match = self._openers.search(source.text, source.at)
            if match is not None:
                source.at = match.start()
                self._say(source.settle())
                return match[0]
            text = source.text
            source.at = len(text)
            if not source.ended:
                source.at -= max((_overlap(text, opener) for opener in openers), default=0)
            self._say(source.settle())
            if source.ended:
                return ""
            yield

    def _say(self, text: str) -> None:
        """Show text; white space at its end waits for what follows."""
        body = text.strip()
        start = text.index(body)
        if self._called:
            self._after += text[:start] if body else text
        else:
            self._gap += text[:start] if body else text
        if not body:
            return
        gap = (self._gap or self._after) if self._spoken or not self._called else ""
        self._found.append(Found("text", gap + body))
        self._gap, self._after = text[start + len(body) :], ""
        self._spoken, self._called = True, False


def _overlap(text: str, opener: str) -> int:
    """How many characters at the end of `text` may be the beginning of `opener`."""
    sizes = range(min(len(opener) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(opener[:size])), 0)
