"""Files of Cactus that were written by another version of it: which are read, and what is said."""

from __future__ import annotations

from cactus.inputs.checks import short


def is_newer(found: object, known: int) -> bool:
    """Whether a version that a file says is newer than the one that is read here."""
    return type(found) is int and found > known


def wrong_version(where: str, what: str, found: object, known: int, advice: str) -> str | None:
    """What is wrong with a file whose `what` is `found`, None where it is `known`, the one read.

    A file of a newer version is refused by name; `advice` says what to do about any other, and may
    be what helps instead of an update, as well.
    """
    if type(found) is int and found == known:
        return None
    if is_newer(found, known):
        return (
            f"{where}: {what} {found} was written by a newer version of cactus, this one reads "
            f"{known}; update cactus, or {advice}"
        )
    return f"{where}: {what} {short(found)}, expected {known}; {advice}"
