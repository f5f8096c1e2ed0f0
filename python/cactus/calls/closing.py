"""What holds something that must be let go: closed once, and never pickled or copied."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NoReturn, SupportsIndex

from cactus.compat import Self


class NotCopied:
    """An object of this process alone: ``pickle`` and ``copy`` are a TypeError that says so."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        name = type(self).__name__
        raise TypeError(
            f"{name} cannot be pickled or copied: it belongs to this process, which holds its "
            "memory and threads. Make another one where it is needed; results can be pickled."
        )


class Closing(NotCopied, ABC):
    """A context manager that gives itself and calls its ``close``."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what it holds; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
