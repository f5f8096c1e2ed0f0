"""Walks through what refers to other things."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, TypeVar

Thing = TypeVar("Thing")


def post_order(
    roots: Iterable[Thing],
    needs: Callable[[Thing], Iterable[Thing]],
    key: Callable[[Any], Hashable] = lambda thing: thing,
) -> Iterator[Thing]:
    """Each thing once, behind those that it needs; a circle is cut where it is entered.

    `key` tells things apart. Not by calls of itself: a chain may be longer than Python's stack.
    """
    begun: set[Hashable] = set()
    rest = [(each, False) for each in reversed([*roots])]
    while rest:
        each, ready = rest.pop()
        if ready:
            yield each
        elif key(each) not in begun:
            begun.add(key(each))
            rest.append((each, True))
            rest += [(needed, False) for needed in reversed([*needs(each)])]
