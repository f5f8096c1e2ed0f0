"""A finished answer, read as JSON, and validated where the grammar left something open."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from cactus.errors import InvalidRequest
from cactus.grammar.keywords import keywords
from cactus.grammar.matching import Unchecked, check_names, fits
from cactus.inputs.text import cut
from cactus.types import Structure

if TYPE_CHECKING:
    from cactus.grammar.formats import Format

ENFORCED_FORMATS = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri")
)
"""What grammars know."""

MOST_ERRORS = 10
"""Places of a schema's violation that are named."""


def read(text: str, format: Format, unenforced: Sequence[str] | None) -> tuple[Any, Structure]:
    """The value of an answer of JSON, or None; and how it fits its form.

    `unenforced` is what the grammar left open, () where nothing; None: there was no grammar, as
    where the answer comes from elsewhere. Then the value is validated here.
    """
    open_ = tuple(unenforced or ())
    if format.kind != "json":
        return None, Structure(open_, None if unenforced is None else True)
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return None, Structure(open_, None)
    formats = {each for _, key, each in keywords(format.definition, "") if key == "format"}
    valid: bool | None = True
    errors: tuple[str, ...] = ()
    if unenforced is None or unenforced or formats:  # such as the days of a February
        valid, errors = checked(value, format.definition)
    if errors:
        return value, Structure(open_, False, errors)
    if _unknown(formats):
        valid = None
    if format.build is None:
        return value, Structure(open_, valid)
    try:
        return format.build(value), Structure(open_, valid)
    except InvalidRequest as error:
        return None, Structure(open_, False, (str(error),))


def read_calls(
    calls: Sequence[Mapping[str, Any]],
    schemas: Mapping[str, Mapping[str, Any]],
    unenforced: Sequence[str],
) -> Structure:
    """How calls that a grammar forced fit the schemas of their tools' parameters, by name."""
    if not calls:
        return Structure(tuple(unenforced), None)
    open_ = unenforced or any(
        key == "format" for schema in schemas.values() for _, key, _ in keywords(schema, "")
    )
    found = [
        (call["name"], *checked(call["arguments"], schemas[call["name"]]))
        for call in (calls if open_ else ())
    ]
    errors = [error.replace("answer", name, 1) for name, _, each in found for error in each]
    valid = False if errors else None if any(valid is None for _, valid, _ in found) else True
    return Structure(tuple(unenforced), valid, tuple(errors[:MOST_ERRORS]))


def checked(value: Any, schema: Any) -> tuple[bool | None, tuple[str, ...]]:
    """Whether a value fits its schema, and where not; None where nobody here can tell."""
    try:
        errors = violations(value, schema)
    except Unchecked:
        return None, ()
    return not errors, errors


def violations(value: Any, schema: Any) -> tuple[str, ...]:
    """Where a value breaks its JSON schema, with paths; formats count, as far as they are known.

    A schema that cannot be checked is a violation, too. Nothing is fetched. Raises Unchecked for
    a regular expression that could take for ever.
    """
    from jsonschema import Draft7Validator, FormatChecker
    from jsonschema.validators import validator_for
    from referencing import Registry

    kinds: list[Any] = [validator_for(schema, default=_newest())]
    if any(key == "dependencies" for _, key, _ in keywords(schema, "")):
        kinds.append(Draft7Validator)  # the last one in which it means something
    for _, key, patterns in keywords(schema, ""):
        for pattern in patterns if key == "patternProperties" else ():
            check_names(pattern)
    # With its own registry jsonschema asks the network for what a reference names.
    found = chain.from_iterable(
        _checking(kind)(schema, registry=Registry(), format_checker=FormatChecker()).iter_errors(
            value
        )
        for kind in kinds
    )
    try:
        return tuple(
            f"{error.json_path.replace('$', 'answer', 1)}: {cut(error.message, 200)}"
            for error, _ in zip(found, range(MOST_ERRORS), strict=False)
        )
    except Unchecked:
        raise
    except Exception as error:  # whatever jsonschema makes of a schema that is none
        return (
            f"answer: the schema cannot be checked: {type(error).__name__}: {cut(str(error), 200)}",
        )


@cache
def _checking(kind: Any) -> Any:
    """A validator of jsonschema that takes no time that cannot be known."""
    from jsonschema.validators import extend

    return extend(kind, {"pattern": _pattern})


def _pattern(_validator: Any, pattern: str, value: Any, _schema: Any) -> Iterator[Exception]:
    """The keyword for jsonschema, whose own takes Python's ``re``."""
    from jsonschema import ValidationError

    if isinstance(value, str) and not fits(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _unknown(formats: set[Any]) -> set[Any]:
    """Those formats of which nobody here knows what fits them."""
    if not formats:
        return set()
    from jsonschema import FormatChecker

    return formats - set(FormatChecker.checkers) - ENFORCED_FORMATS


def _newest() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits} is beyond the numbers of this machine")
    return number
