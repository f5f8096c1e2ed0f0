"""What two passes over growing audio agree on (LocalAgreement-2, Macháček et al. 2023)."""

from __future__ import annotations

from collections.abc import Callable


class Agreement:
    """The answers to one window that grows. ``sure`` is what all its later answers begin with.

    At most ``most`` tokens become sure; those from ``first_time`` on are times.
    """

    def __init__(self, first_time: int, most: int) -> None:
        self._first_time, self._most = first_time, most
        self.clear()

    def clear(self) -> None:
        """Begin another window."""
        self.sure: list[int] = []
        self._last: list[int] = []
        self._shown: list[int] = []

    @property
    def unsure(self) -> list[int]:
        """What the last answer says beyond what is sure."""
        return self._shown[len(self.sure) :]

    def guess(self, answer: list[int]) -> None:
        """An answer to too little of a window: it may be shown, and makes nothing sure."""
        self._shown = answer

    def compare(
        self, answer: list[int], doubtful: int, is_whole: Callable[[list[int]], bool]
    ) -> list[int]:
        """Compare an answer, which begins with ``sure``, with the last one; what is sure now.

        Times may differ: which of two is right does not matter for the text. They are sure only
        with the text behind them. ``doubtful``: how many tokens at the answer's end are there only
        because the audio was cut, and make nothing sure the next time. ``is_whole``: whether tokens
        may be parted from what follows.
        """
        known, count = len(self.sure), 0
        for a, b in zip(self._last, answer, strict=False):
            if a != b and not (a >= self._first_time and b >= self._first_time):
                break
            count += 1
        count = min(count, self._most)
        while count > known and (
            answer[count - 1] >= self._first_time or not is_whole(answer[known:count])
        ):
            count -= 1
        if count > known:
            self.sure = answer[:count]
        self._shown = answer
        self._last = answer[: max(len(self.sure), len(answer) - doubtful)]
        return answer[known:count]

    def close(self, answer: list[int], count: int, steps: int) -> None:
        """The window moves on behind the first ``count`` tokens, by ``steps`` of time.

        What was sure behind them still is. The rest may be shown: another pass over the same
        samples does not count.
        """
        rest = [id if id < self._first_time else max(self._first_time, id - steps) for id in answer]
        self.sure, self._shown = rest[count : len(self.sure)], rest[count:]
        self._last = self.sure
