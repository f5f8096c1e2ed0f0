"""What a model thinks before it answers: the `<think>` block at the beginning of an answer.

The markup is plain text here, whether the vocabulary has tokens for it or the model spells it.
"""

from __future__ import annotations

from typing import Literal

OPEN, CLOSE = "<think>", "</think>"

Reasoning = Literal["never", "possible", "begun"]
"""Whether an answer may begin with a block: not if the model has no such markup; "begun" if the
prompt has already opened it."""


class Splitter:
    """Cuts an answer into its reasoning and its text, as they arrive.

    A block counts only at the beginning of the answer, where nothing but white space may stand
    before it; the first end tag ends it. White space at the ends of the reasoning, and between it
    and the text, belongs to neither. Without a block all is text, to the last space. How the answer
    is cut into pieces makes no difference.
    """

    def __init__(self, reasoning: Reasoning) -> None:
        self._opened = reasoning == "begun"
        self._state = "text" if reasoning == "never" else "undecided"
        self._begun = False  # the reasoning has a first character
        self._held = ""

    @property
    def thinking(self) -> bool:
        """True inside the block."""
        return self._state == "inside" or (self._opened and self._state == "undecided")

    @property
    def over(self) -> bool:
        """Whether all that comes is text, as it comes."""
        return self._state == "text"

    def push(self, piece: str) -> tuple[str, str]:
        """The reasoning and the text that can now be shown; the former stands before the latter."""
        rest, self._held = self._held + piece, ""
        if self._state == "undecided":
            rest = self._decide(rest)
        reasoning = ""
        if self._state == "inside":
            reasoning, rest = self._read_inside(rest)
        if self._state == "closed":
            rest = rest.lstrip()
            if rest:
                self._state = "text"
        return (reasoning, rest) if self._state == "text" else (reasoning, "")

    def flush(self) -> tuple[str, str]:
        """What was held back, which the end of the answer proves to be no tag."""
        held, self._held = self._held, ""
        return (self._trimmed(held.rstrip()), "") if self.thinking else ("", held)

    def _decide(self, rest: str) -> str:
        begun = rest.lstrip()
        if begun != OPEN and OPEN.startswith(begun):
            self._held = rest
            return ""
        if begun.startswith(OPEN):
            self._state = "inside"
            return begun.removeprefix(OPEN)
        self._state = "inside" if self._opened else "text"
        return rest

    def _read_inside(self, rest: str) -> tuple[str, str]:
        inner, close, after = rest.partition(CLOSE)
        if close:
            self._state = "closed"
            return self._trimmed(inner.rstrip()), after
        tag = max(size for size in range(len(CLOSE)) if rest.endswith(CLOSE[:size]))
        shown = rest[: len(rest) - tag].rstrip()
        self._held = rest[len(shown) :]
        return self._trimmed(shown), ""

    def _trimmed(self, reasoning: str) -> str:
        """Without the white space that the whole reasoning begins with."""
        if not self._begun:
            reasoning = reasoning.lstrip()
            self._begun = bool(reasoning)
        return reasoning
