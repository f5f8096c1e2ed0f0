"""Numbers of JSON have no end by themselves: how long one may become in an answer."""

from __future__ import annotations

import re

MOST_CHARACTERS = 32
"""Of a number: more than a double or an integer of 64 bits needs."""

MOST_EXPONENT = 2
"""Digits of an exponent: with so few, none of these numbers is infinite as a double."""

_NUMBER = re.compile(rb"[-0-9][-+.0-9eE]*\Z")
_EXPONENT = re.compile(rb"[0-9][eE][-+]?([0-9]*)\Z")
_LEADING = re.compile(rb"[0-9]*")
_LONG_EXPONENT = re.compile(rb"[.0-9]*[eE][-+]?[0-9]{3}")


def number_in(said: bytes) -> bytes:
    """The number that ends `said`, as far as it has come; empty where there is none."""
    found = _NUMBER.search(said)
    return found[0] if found else b""


def digits_left(number: bytes) -> int:
    """How many more digits `number` may get."""
    left = MOST_CHARACTERS - len(number)
    exponent = _EXPONENT.search(number)
    if exponent:
        left = min(left, MOST_EXPONENT - len(exponent[1]))
    return max(0, left)


def is_too_long(token: bytes, left: int) -> bool:
    """Whether a token that follows a number has more digits than are left."""
    leading = _LEADING.match(token)
    assert leading is not None
    return len(leading[0]) > left or bool(_LONG_EXPONENT.match(token))
