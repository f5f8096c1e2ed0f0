"""A flag that ends work from anywhere."""

from __future__ import annotations

from array import array


class StopFlag:
    """Whether work was asked to end: set from any thread or signal handler, seen inside a step."""

    __slots__ = ("address", "cell")

    def __init__(self) -> None:
        self.cell = array("i", [0])
        self.address: int = self.cell.buffer_info()[0]
        """Where the native core finds the flag, an int32, as long as this object lives."""

    def set(self) -> None:
        """Ask the work to end."""
        self.cell[0] = 1

    def __bool__(self) -> bool:
        return self.cell[0] != 0
