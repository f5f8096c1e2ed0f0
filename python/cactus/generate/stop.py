"""Stop strings: found wherever tokens happen to split them, and never shown half.

Every stop string is followed by its own Knuth-Morris-Pratt automaton, so the cost is linear in the
text however long the strings are, and the text to hold back is simply the longest prefix that any
automaton has matched so far.
"""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Passes text through until one of `stops` is complete.

    The first stop string to be completed wins; of several completed by the same character, the
    longest. How the text is cut into pieces makes no difference. With `include` the matched string
    is part of the text that is let through, else everything before it.
    """

    def __init__(self, stops: Sequence[str], *, include: bool = False) -> None:
        self._stops = [(stop, _failures(stop)) for stop in stops]
        self._matched = [0] * len(self._stops)
        self._include = include
        self._held = ""
        self.stopped: str | None = None
        """The stop string that ended the text, once there is one."""

    def push(self, text: str) -> str:
        """The part of everything pushed so far that can now be shown; "" after a stop."""
        if self.stopped is not None:
            return ""
        if not self._stops:
            return text
        buffer = self._held + text
        for position in range(len(self._held), len(buffer)):
            hit = self._advance(buffer[position])
            if hit is not None:
                self.stopped, self._held = hit, ""
                end = position + 1
                return buffer[:end] if self._include else buffer[: end - len(hit)]
        safe = len(buffer) - max(self._matched)
        self._held = buffer[safe:]
        return buffer[:safe]

    def flush(self) -> str:
        """The text still held back, which the end of the answer proves to be no stop string."""
        held, self._held = self._held, ""
        self._matched = [0] * len(self._stops)
        return held

    def _advance(self, character: str) -> str | None:
        """Moves every automaton on; the longest stop string that this character completes."""
        hit: str | None = None
        for index, (stop, failures) in enumerate(self._stops):
            matched = self._matched[index]
            while matched and stop[matched] != character:
                matched = failures[matched - 1]
            if stop[matched] == character:
                matched += 1
            self._matched[index] = matched
            if matched == len(stop) and (hit is None or len(stop) > len(hit)):
                hit = stop
        return hit


def _failures(pattern: str) -> list[int]:
    """For every prefix of `pattern`, the length of its longest proper border."""
    table = [0] * len(pattern)
    border = 0
    for position in range(1, len(pattern)):
        while border and pattern[border] != pattern[position]:
            border = table[border - 1]
        if pattern[border] == pattern[position]:
            border += 1
        table[position] = border
    return table
