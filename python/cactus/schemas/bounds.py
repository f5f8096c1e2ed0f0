"""What ``Annotated`` says of a type beyond its kind: a description, bounds, a pattern."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from cactus.errors import InvalidRequest
from cactus.inputs.values import shown
from cactus.schemas.kinds import Definitions, Kind, Schema

WORDS = ("description", "title", "examples")
"""Keywords that only say something."""

ATTRIBUTES = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
}
"""What the marks of annotated_types and pydantic are called in JSON schema."""


class Bounded(Kind):
    """A kind with keywords."""

    def __init__(self, kind: Kind, keywords: Schema) -> None:
        self.kind, self.keywords = kind, keywords

    def schema(self, defs: Definitions) -> Schema:
        return self.kind.schema(defs) | self.keywords

    def build(self, value: Any, place: str) -> Any:
        built = self.kind.build(value, place)
        for keyword, bound in self.keywords.items():
            if keyword in CHECKS and not _holds(keyword, value, bound):
                raise InvalidRequest(
                    f"{place}: expected {PHRASES[keyword].format(bound)}, got {shown(value)}"
                )
        return built


def keywords_of(marks: Iterable[Any], place: str) -> Schema:
    """The keywords that the marks of an ``Annotated`` stand for.

    A text is the description; a dict has keywords of JSON schema; the marks of annotated_types and
    pydantic's ``Field`` are read by their attributes; others mean something to somebody else.
    Raises InvalidRequest for a keyword that would not be checked.
    """
    found: Schema = {}
    for mark in marks:
        if isinstance(mark, str):
            found["description"] = mark
        elif isinstance(mark, Mapping):
            for keyword, bound in mark.items():
                if keyword not in CHECKS and keyword not in WORDS:
                    known = ", ".join((*WORDS, *CHECKS))
                    raise InvalidRequest(
                        f"{place}: the keyword {shown(keyword)} is not known here; there are "
                        f"{known}"
                    )
                found[keyword] = bound
        else:
            found |= _of_attributes(mark)
    return found


def _of_attributes(mark: Any) -> Schema:
    found: Schema = {}
    for name in ("description", "documentation"):
        text = getattr(mark, name, None)
        if isinstance(text, str):
            found["description"] = text
    for name, keyword in ATTRIBUTES.items():
        bound = getattr(mark, name, None)
        if isinstance(bound, (int, float, str)):
            found[keyword] = bound
    for name, of_text in (("min_length", "minLength"), ("max_length", "maxLength")):
        bound = getattr(mark, name, None)
        if isinstance(bound, int):
            found[of_text] = bound
    for inner in getattr(mark, "metadata", None) or ():
        found |= _of_attributes(inner)
    return found


def fitting(keywords: Schema, schema: Schema) -> Schema:
    """Lengths are those of strings, unless it is an array whose length is meant."""
    if schema.get("type") != "array":
        return keywords
    names = {"minLength": "minItems", "maxLength": "maxItems"}
    return {names.get(keyword, keyword): bound for keyword, bound in keywords.items()}


def _holds(keyword: str, value: Any, bound: Any) -> bool:
    kinds, holds = CHECKS[keyword]
    # A keyword says nothing of values of other kinds, such as the null of an Optional.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        return True
    return bool(holds(value, bound))


def _is_multiple(value: float, bound: float) -> bool:
    return math.isclose(value / bound, round(value / bound), rel_tol=1e-9, abs_tol=1e-9)


_NUMBERS, _ANY = (int, float), (object, bool)
CHECKS: dict[str, tuple[tuple[type, ...], Any]] = {
    "minimum": (_NUMBERS, lambda value, bound: value >= bound),
    "maximum": (_NUMBERS, lambda value, bound: value <= bound),
    "exclusiveMinimum": (_NUMBERS, lambda value, bound: value > bound),
    "exclusiveMaximum": (_NUMBERS, lambda value, bound: value < bound),
    "multipleOf": (_NUMBERS, _is_multiple),
    "minLength": ((str,), lambda value, bound: len(value) >= bound),
    "maxLength": ((str,), lambda value, bound: len(value) <= bound),
    "pattern": ((str,), lambda value, bound: re.search(bound, value)),
    "minItems": ((list,), lambda value, bound: len(value) >= bound),
    "maxItems": ((list,), lambda value, bound: len(value) <= bound),
    "enum": (_ANY, lambda value, bound: value in bound),
    "const": (_ANY, lambda value, bound: value == bound),
}
PHRASES = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "a text that matches {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "enum": "one of {}",
    "const": "{}",
}
