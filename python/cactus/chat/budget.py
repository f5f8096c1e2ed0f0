"""What one rendering of a chat template may use."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from jinja2.exceptions import SecurityError

from cactus.chat.traced import Traced

CHARACTERS_PER_ITEM = 8  # what an element of a list costs, in characters
MAX_BITS = 4096  # of an integer that a template computes
MAX_WIDTH = 999  # of a padded or indented field


@dataclass
class Budget:
    """What one rendering may use. Every overdraft is a SecurityError that names the limit.

    `seconds` are those of its thread at work: that others have the cores, or that the process was
    stopped for a while, is no fault of a template.
    """

    steps: int = 2_000_000
    value: int = 16 << 20
    total: int = 128 << 20
    seconds: float = 10.0

    def __post_init__(self) -> None:
        self._steps, self._total = self.steps, self.total
        self._began = time.thread_time()
        self._look = time.monotonic() + self.seconds

    def step(self) -> None:
        """One turn of a loop, one call."""
        self._steps -= 1
        if self._steps < 0:
            raise SecurityError(f"it takes more than {self.steps} steps")
        if time.monotonic() > self._look:  # the other clock takes longer to be read
            left = self.seconds - (time.thread_time() - self._began)
            if left < 0:
                raise SecurityError(f"it runs for more than {self.seconds:g} seconds")
            self._look = time.monotonic() + left

    def charge(self, characters: int) -> None:
        """A value of this many characters is about to be made."""
        if characters > self.value:
            raise SecurityError(f"it makes a value of more than {self.value} characters")
        self._total -= characters
        if self._total < 0:
            raise SecurityError(f"it makes more than {self.total} characters in all")

    def measure(self, value: Any) -> int:
        """Upper bound of the length of ``str(value)``; charged, so a list of lists of ... ends."""
        if type(value) in (str, Traced):
            return len(value)
        size = 0
        rest = [value]
        while rest:
            item = rest.pop()
            size += CHARACTERS_PER_ITEM
            if isinstance(item, str):
                size += 2 * len(item)
            elif isinstance(item, dict):
                rest += item.keys()
                rest += item.values()
            elif isinstance(item, (list, tuple)):
                rest += item
            elif type(item) is int:
                size += item.bit_length() // 3
            if size + len(rest) > self.value:
                raise SecurityError(f"it makes a value of more than {self.value} characters")
        self.charge(size)
        return size
