"""What an expression would cost the compiler, as far as its text says so: refused before.

The compiler counts the parts that it makes (`limits.MOST_STEPS`), but not the memory that it needs
before it counts them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cactus.errors import InvalidRequest
from cactus.inputs.checks import short

MOST_CHARACTERS = 1 << 16
"""Of an expression: reading one takes up to 700 bytes."""

CLASS = 20
"""Characters that a class of Unicode, such as ``\\w``, counts for: it takes up to 16 KB."""

MOST_OPTIONAL = 1 << 25
"""Characters times parts that may be left out: behind each part all are kept that may follow."""

MOST_WAYS = 1 << 16
"""In which one character may fit expressions that a text has to match at once: 200 bytes each."""

_PIECE = re.compile(r"\\[pP]\{[^}]{0,40}\}|\\.|\[(?:\\.|[^\]\\])*\]?|\.", re.DOTALL)
_UNICODE = re.compile(r"\\[wWsSdDpP]")
_OPTIONAL = re.compile(r"(?<!\()[*?]|\{0?,|\{0\}|[(|](?=[|)])|\A\||\|\Z")


@dataclass(frozen=True)
class Size:
    """Of an expression: its characters, parts that may be left out, and different classes."""

    characters: int
    optional: int
    classes: frozenset[str]

    @property
    def ways(self) -> int:
        """In how many ways a character may fit: as itself, as any, or in a class."""
        return 2 + len(self.classes)


def size_of(expression: str) -> Size:
    """The size of an expression."""
    pieces = _PIECE.findall(expression)
    classes = frozenset(each for each in pieces if each[0] != "\\" or _UNICODE.match(each))
    characters = len(expression) + CLASS * len(_UNICODE.findall(expression))
    return Size(characters, optional_in(_PIECE.sub("a", expression)), classes)


def optional_in(signs: str) -> int:
    """How many parts may be left out, where classes and what is escaped are letters."""
    return len(_OPTIONAL.findall(signs))


def check_expression(expression: str, where: str) -> Size:
    """The size of an expression; InvalidRequest where that is too large to be compiled."""
    size = size_of(expression[: MOST_CHARACTERS + 1])
    if size.characters > MOST_CHARACTERS:
        raise InvalidRequest(
            f"{where}: the expression {short(expression)} has more than "
            f"{MOST_CHARACTERS:,} characters (a class such as \\w counts for {CLASS} more)"
        )
    check_optional(size.characters, size.optional, where)
    return size


def check_optional(characters: int, optional: int, where: str) -> None:
    """InvalidRequest where too much may be left out of an expression."""
    if characters * optional > MOST_OPTIONAL:
        raise InvalidRequest(
            f"{where}: {optional:,} parts of an expression of {characters:,} characters may be "
            f"left out (as by * or ?); at most {MOST_OPTIONAL // characters:,} may in one so long"
        )


def check_ways(ways: int, where: str) -> None:
    """InvalidRequest where a text has to match too many expressions at once."""
    if ways > MOST_WAYS:
        raise InvalidRequest(
            f"{where}: a text has to match too many expressions at once (by &, allOf, or beside a "
            f"$ref or an anyOf): a character fits them in more than {MOST_WAYS:,} ways, the two or "
            "more of each multiplied; give fewer expressions, or one that says the same"
        )
