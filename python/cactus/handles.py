"""Integers that stand for objects in the flat functions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from cactus.errors import CactusError, InvalidRequest

T = TypeVar("T")


class Handles(Generic[T]):
    """Gives each object a number of its own, which is never given again.

    ``noun``, ``maker`` and ``gone`` are for messages: what a handle stands for, the function that
    returns it, and the error for one whose object has been removed.
    """

    def __init__(self, noun: str, maker: str, gone: Callable[[int], CactusError]) -> None:
        self._noun, self._maker, self._gone = noun, maker, gone
        self._refusal = threading.local()
        self._objects: dict[int, T] = {}
        self._issued = 0
        self._issuing = threading.Lock()

    def add(self, thing: T) -> int:
        """The handle of a new object."""
        self._refusal.reason = None
        with self._issuing:
            self._issued = handle = self._issued + 1
        self._objects[handle] = thing
        return handle

    def refuse(self, reason: str) -> None:
        """No object was made: note for this thread why its handle is None."""
        self._refusal.reason = reason

    def find(self, handle: object) -> T:
        """The object of a handle. Raises InvalidRequest, for one removed what ``gone`` makes."""
        if isinstance(handle, bool) or not isinstance(handle, int):
            got = "None" if handle is None else type(handle).__name__
            reason = getattr(self._refusal, "reason", None) if handle is None else None
            raise InvalidRequest(
                f"{self._noun} must be the integer that {self._maker} returned, got {got}"
                + (f" ({self._maker} failed: {reason})" if reason else "")
            )
        thing = self._objects.get(handle)
        if thing is None:
            if 0 < handle <= self._issued:
                raise self._gone(handle)
            shown = str(handle) if abs(handle) < 1 << 64 else "that large number"
            raise InvalidRequest(f"{self._noun} {shown} is not a handle of {self._maker}")
        return thing

    def remove(self, handle: int) -> T | None:
        """Forget a handle; its object, unless another thread was first."""
        return self._objects.pop(handle, None)

    def remove_where(self, is_gone: Callable[[T], bool]) -> None:
        """Forget the handles of some objects."""
        for handle, thing in list(self._objects.items()):
            if is_gone(thing):
                self.remove(handle)
