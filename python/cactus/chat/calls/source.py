"""The text of an answer as it comes, for readers that wait where there is no more of it yet.

A reader is a generator: it yields wherever it needs a character that has not come, and goes on from
there when it has. What it finds therefore cannot depend on how the text was cut.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")
Steps = Generator[None, None, T]
"""A reader that gives a `T` in the end."""


class Broken(Exception):
    """What was read is not a call."""


class Source:
    """`text` is what has come and is not settled yet; `at` is how far it is read.

    `ended` says that no more will come.
    """

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.ended = False

    def settle(self) -> str:
        """What was read since the last time; it is done with."""
        text, self.text, self.at = self.text[: self.at], self.text[self.at :], 0
        return text

    def look(self, offset: int = 0) -> Steps[str]:
        """The character so far ahead; "" where the answer ends before it."""
        while self.at + offset >= len(self.text):
            if self.ended:
                return ""
            yield
        return self.text[self.at + offset]

    def skip(self, literal: str) -> Steps[bool]:
        """Whether `literal` comes next; it is read if so."""
        for offset, character in enumerate(literal):
            if (yield from self.look(offset)) != character:
                return False
        self.at += len(literal)
        return True

    def sees(self, literal: str) -> Steps[bool]:
        """Whether `literal` comes next; it stays unread."""
        begin = self.at
        found = yield from self.skip(literal)
        self.at = begin
        return found

    def need(self, literal: str) -> Steps[None]:
        """Read `literal`. Raises Broken if something else comes."""
        if not (yield from self.skip(literal)):
            raise Broken

    def space(self) -> Steps[str]:
        """Read white space; the character behind it."""
        while (character := (yield from self.look())).isspace():
            self.at += 1
        return character

    def run(self, stops: str) -> Steps[str]:
        """Read up to one of the characters in `stops`; what stood before it, which may be all."""
        begin = self.at
        while (character := (yield from self.look())) and character not in stops:
            self.at += 1
        return self.text[begin : self.at]

    def until(self, literal: str) -> Steps[str]:
        """Read past the next `literal`; what stood before it. Raises Broken if none comes."""
        begin = searched = self.at
        while (found := self.text.find(literal, searched)) < 0:
            if self.ended:
                self.at = len(self.text)
                raise Broken
            searched = max(begin, len(self.text) - len(literal) + 1)
            yield
        self.at = found + len(literal)
        return self.text[begin:found]
