"""Checks of single options: an error names the option, what it may be and what it was."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from cactus.errors import InvalidRequest
from cactus.inputs.text import SHOWN, cut, one_line


def known(names: Iterable[str], options: Iterable[str]) -> None:
    """InvalidRequest naming the first of `names` that is none of `options`, and the nearest."""
    there = list(options)
    for name in names:
        if name not in there:
            near = nearest(str(name), there)
            hint = f"did you mean {near}?" if near else f"the options are {', '.join(there)}"
            raise InvalidRequest(f"unknown option {short(name)}: {hint}")


def nearest(name: str, options: Iterable[str]) -> str | None:
    """The one of `options` that somebody may have meant who wrote `name`, of any length."""
    return next(iter(get_close_matches(name[:SHOWN], list(options), n=1)), None)


def integer(name: str, value: object, low: int, high: int | None = None) -> int:
    """`value` as an int from `low` to `high`, or InvalidRequest naming `name`."""
    wanted = f"an integer from {low}" + (f" to {high}" if high is not None else "")
    if isinstance(value, bool):
        raise InvalidRequest(expected(name, wanted, value))
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise InvalidRequest(expected(name, wanted, value)) from None
    if number < low or (high is not None and number > high):
        raise InvalidRequest(expected(name, wanted, value))
    return number


def number(name: str, value: object, low: float, high: float) -> float:
    """`value` as a finite float from `low` to `high`, or InvalidRequest naming `name`."""
    wanted = f"a number from {low:g} to {high:g}"
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise InvalidRequest(expected(name, wanted, value))
    try:
        result = float(value)
    except (OverflowError, TypeError, ValueError):
        raise InvalidRequest(expected(name, wanted, value)) from None
    # Written so that NaN, which compares with nothing, is refused too.
    if not low <= result <= high:
        raise InvalidRequest(expected(name, wanted, value))
    return result


def boolean(name: str, value: object) -> bool:
    """`value` if it is True or False, or InvalidRequest naming `name`."""
    if not isinstance(value, bool):
        raise InvalidRequest(expected(name, "True or False", value))
    return value


def choice(name: str, value: object, known: Sequence[str]) -> str:
    """`value` if it is one of `known`, or InvalidRequest naming `name`."""
    if not isinstance(value, str) or value not in known:
        raise InvalidRequest(expected(name, " or ".join(map(repr, known)), value))
    return value


def text(name: str, value: object) -> str:
    """`value` if it is a string of whole characters, or InvalidRequest naming `name`."""
    if not isinstance(value, str):
        raise InvalidRequest(expected(name, "a string", value))
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{name} holds half a surrogate pair, which is not text") from None
    return value


def expected(name: str, wanted: str, value: object) -> str:
    """The message for an option that is something else than what is wanted."""
    return f"{name} must be {wanted}, got {short(value)}"


def short(value: object, most: int = SHOWN) -> str:
    """A value of any size as an error shows it: cut after `most` characters, which is said."""
    try:
        text = _Repr(most).repr(value)
    except Exception:  # a caller's own type may do anything
        return f"a {type(value).__name__}"
    if type(value) is str:  # not isinstance, which asks the value
        return text
    return cut(text, 4 * most) if text.isprintable() else one_line(text, 4 * most)


class _Repr(reprlib.Repr):
    """Representations of bounded size and work."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = most

    def repr_str(self, x: str, level: int) -> str:
        """A text in quotes; where it is cut, that and its length are said."""
        if len(x) <= self.maxstring:
            return repr(x)
        return f"{x[: self.maxstring] + '…'!r} ({len(x)} characters)"

    def repr_bytes(self, x: bytes | bytearray, level: int) -> str:
        """Bytes, of which each may take four characters; where they are cut, how many there are."""
        most = self.maxstring // 2
        return repr(x) if len(x) <= most else f"{x[:most]!r}… ({len(x)} bytes)"

    repr_bytearray = repr_bytes

    def repr_int(self, x: int, level: int) -> str:
        """An integer; about how large it is where Python may refuse to write its digits."""
        return repr(x) if x.bit_length() < 256 else f"about {'-' * (x < 0)}2**{x.bit_length() - 1}"
