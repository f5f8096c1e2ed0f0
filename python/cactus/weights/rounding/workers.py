"""Threads that share the work of a conversion, with the same result for any number of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TypeVar

from threadpoolctl import threadpool_limits

from cactus.machine import choose_threads

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Workers:
    """`threads` threads for NumPy work, by default one for each core; use it as a context manager.

    NumPy's own matrix products take one thread meanwhile: their sums, and with them the last bits
    of a result, could depend on how many share them.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = choose_threads(threads)

    def __enter__(self) -> Workers:
        self._limits = threadpool_limits(1, user_api="blas")
        self._pool = ThreadPoolExecutor(self._threads, "cactus-convert")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._limits.restore_original_limits()

    def map(
        self, function: Callable[[_Item], _Result], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """The results in the order of `items`, which are taken only a few ahead of the reader."""
        pending: deque[Future[_Result]] = deque()
        for item in items:
            pending.append(self._pool.submit(function, item))
            if len(pending) > self._threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
