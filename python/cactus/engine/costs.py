"""What a step takes on this machine, by the number of its rows: learned while an engine lives."""

from __future__ import annotations

MOST = 16
"""Guesses in one step at most: a session with recurrent state can go back 32 positions exactly."""

ROWS = 128
"""Steps of more rows are taken to cost, for each row, what one of so many does."""

NEAR = 16
"""A measurement counts for other numbers of rows that are at most this far away."""


class StepCosts:
    """What a step of several rows takes, in steps of one row: 1, and a slope for each further row.

    Every number of rows has a slope of its own, for kernels work in tiles of rows. A measurement
    counts for its own, and the less for others the further they are from it. All are running means,
    for as long as an engine lives. Every PAUSE steps without guesses they return a little to where
    they began, so that what was measured in a disturbed moment is tried again.
    """

    START = 0.3
    WEIGHT = 0.15
    PAUSE = 25
    RETURN = 0.05
    ENOUGH = 4

    def __init__(self) -> None:
        self._one = 0.0
        self._count = 0
        self._idle = 0
        self._slopes = [self.START] * (ROWS + 1)

    @property
    def one(self) -> float:
        """Seconds of a step of one row; 0: none has been measured yet."""
        return self._one

    @property
    def settled(self) -> bool:
        """Whether enough has been measured that `one` is no accident."""
        return self._count >= self.ENOUGH

    def of(self, rows: int) -> float:
        """The time of a step of `rows` rows, as a multiple of the time of a step of one."""
        return 1 + (rows - 1) * self._slopes[min(rows, ROWS)]

    def seconds(self, rows: int) -> float:
        """The time of a step of `rows` rows; 0 before one has been measured."""
        return self._one * self.of(rows)

    def record(self, rows: int, seconds: float) -> None:
        """A step of `rows` rows took `seconds`."""
        slopes = self._slopes
        self._count += rows == 1
        if self._one == 0:
            self._one = seconds / self.of(rows)
        elif rows == 1:
            if 2 * seconds < self._one:  # those before were interrupted, as the first ones are
                self._one = seconds
            # What takes twice as long as usual was interrupted by something else.
            self._one += (min(seconds, 2 * self._one) - self._one) * self.WEIGHT
            self._idle += 1
            if self._idle % self.PAUSE == 0:
                self._slopes = [slope + (self.START - slope) * self.RETURN for slope in slopes]
        else:
            measured = min(max((seconds / self._one - 1) / (rows - 1), 0), 2)
            for other in range(max(0, rows - NEAR), min(rows + NEAR, ROWS) + 1):
                slope = slopes[other]
                slopes[other] += (measured - slope) * self.WEIGHT / (1 + abs(other - rows))
