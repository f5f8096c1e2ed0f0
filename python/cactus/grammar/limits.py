"""What the compiler may take, and schemas that would take more: refused before it begins."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cactus.errors import InvalidRequest
from cactus.grammar.keywords import keywords
from cactus.grammar.references import check_references
from cactus.grammar.sizes import check_expression
from cactus.inputs.checks import short
from cactus.inputs.text import cut
from cactus.inputs.values import shown

if TYPE_CHECKING:
    from llguidance import LLParserLimits

SECONDS = 0.5
"""Of work that a compilation may take."""

MOST_STEPS = 200_000
"""Of the compiler, about one for each part that expressions are made of: 200 bytes each."""

MOST_STATES = 50_000
"""Of a matcher's lexer, one to two kilobytes each."""

MOST_SYMBOLS = 60_000
"""Of the rules that a grammar becomes: the compiler has numbers of 16 bits for them."""

MOST_CHARACTERS = 1 << 20
"""Of a schema as JSON."""

MOST_ITEMS = 5000
"""Of rules that may go on at one place: four for each of 500 properties that may be left out."""

MOST_MEMBERS = {
    **{"properties": 500, "required": 500, "enum": 10_000},
    **{"allOf": 16, "anyOf": 500, "oneOf": 500},
}
"""Members of one keyword: compiling takes longer than in proportion to them."""

MOST_NAMES = 100
"""Members of all `patternProperties` of a schema: the compiler looks at each two of them."""

MOST_PAIRS = 250_000
"""Of these members, times references, which may repeat them: 20 microseconds each."""

MOST_INSIDE = 10_000
"""Members of objects and lists in the `const` and `enum` of a schema: five kilobytes each."""

MOST_EXPLAINED = 1 << 15
"""Characters of a schema whose mistakes are looked for: that takes longer than compiling it."""

MOST_REMAINDERS = 50_000
"""Remainders by a `multipleOf`, without zeros at its end and point, of which the compiler makes a
state each: of all in a schema together, and of what is a multiple of all of them."""

TOO_LARGE = "what it describes is too large to be compiled"

_INSTEAD = (
    f"it takes more than {MOST_STEPS:,} steps, or {MOST_SYMBOLS:,} symbols; give smaller "
    "repetitions inside of others, fewer alternatives or expressions, or shorter ones"
)

_TOO_LARGE = re.compile(
    r"initial lexer configuration|fuel exhausted|lexer precomputation|number of symbols\)|"
    r"too many expressions constructed|symbols\.len\(\) <"
)
_PLACE = re.compile(r"at ([0-9]+)\(")

EXACT = 1 << 53
"""Up to it, doubles hold all integers: the compiler has no others."""


def check_integers(schema: Any, where: str) -> None:
    """InvalidRequest for an integer that the compiler, or JSON, does not have."""
    for number in _integers(schema):
        if not -(1 << 63) <= number < 1 << 64:
            raise InvalidRequest(f"{where}: the integer {shown(number)} has more than 64 bits")


def check_size(schema: Any, where: str) -> None:
    """InvalidRequest with the path of what makes a schema too large to be compiled."""
    check_integers(schema, where)
    size = len(json.dumps(schema))
    if size > MOST_CHARACTERS:
        raise InvalidRequest(
            f"{where}: the schema has {size} characters; at most {MOST_CHARACTERS} are compiled"
        )
    together, common, inside, names, refs = 0, 1, 0, 0, 1
    for path, key, value in keywords(schema, where):
        if key == "multipleOf" and type(value) in (int, float):
            if value <= 0:  # the compiler takes it without its sign, and without end
                raise InvalidRequest(f"{path}.multipleOf must be above 0, got {shown(value)}")
            digits = Decimal(str(value)).normalize().as_tuple().digits
            count = int("".join(map(str, digits)))
            together, common = together + count, math.lcm(common, count)
            if max(together, common) > MOST_REMAINDERS:
                raise InvalidRequest(
                    f"{path}.multipleOf: {shown(value)} makes too many remainders to be told apart "
                    f"in a grammar, with those before: {max(together, common):,}, at most "
                    f"{MOST_REMAINDERS:,}"
                )
        most = MOST_MEMBERS.get(key)
        if most is not None and isinstance(value, (list, dict)) and len(value) > most:
            raise InvalidRequest(
                f"{path}.{key}: {len(value)} members; at most {most} are compiled into a grammar"
            )
        if key in ("const", "enum"):
            inside += _members(value) - (
                len(value) if key == "enum" and isinstance(value, list) else 0
            )
            if inside > MOST_INSIDE:
                raise InvalidRequest(
                    f"{path}.{key}: with those before, objects and lists of {inside:,} members; at "
                    f"most {MOST_INSIDE:,} are compiled into a grammar"
                )
        if key == "patternProperties" and isinstance(value, dict):
            names += len(value)
        for expression in _expressions(key, value):
            check_expression(expression, f"{path}.{key}")
        refs += key == "$ref"
        if names > MOST_NAMES or names**2 * refs > MOST_PAIRS:
            raise InvalidRequest(
                f"{path}.{key}: with those before, patternProperties of {names} members and "
                f"{refs - 1:,} references ($ref): at most {MOST_NAMES} members are compiled into a "
                f"grammar, and {MOST_PAIRS:,} of their square times the references"
            )
        for number in _integers(value) if key in ("const", "enum") else ():
            if abs(number) > EXACT:
                raise InvalidRequest(
                    f"{path}.{key}: the integer {shown(number)} is beyond 2**53, which a grammar "
                    "cannot tell from its neighbours; give it as a text"
                )
        if key == "$ref" and isinstance(value, str) and not value.startswith("#"):
            raise InvalidRequest(
                f"{path}.$ref: {short(value)} is another document, which is not fetched; "
                "put the definition under $defs"
            )
    check_references(schema, where)


def _expressions(key: str, value: Any) -> list[str]:
    """The regular expressions that are the value of a keyword."""
    found = [value] if key == "pattern" else []
    if key in ("patternProperties", "x-guidance") and isinstance(value, dict):
        found = [*value] if key == "patternProperties" else [*value.values()]
    return [each for each in found if isinstance(each, str)]


def compiler_limits() -> LLParserLimits:
    """What a compilation may take, as the compiler counts it."""
    from llguidance import LLParserLimits

    return LLParserLimits(
        verbose_errors=False,
        initial_lexer_fuel=MOST_STEPS,
        max_lexer_states=MOST_STATES,
        max_grammar_size=MOST_SYMBOLS,
        max_items_in_row=MOST_ITEMS,
    )


def in_words(error: str) -> str:
    """An error of the compiler; where that is about its limits, what they mean."""
    if not _TOO_LARGE.search(error):
        return error
    place = _PLACE.match(error)
    line = f" (line {place[1]})" if place else ""
    return f"{TOO_LARGE}{line}: {_INSTEAD}"


def _members(value: Any) -> int:
    """How many members the objects and lists in a value of JSON have."""
    count, rest = 0, [value]
    while rest:
        value = rest.pop()
        if isinstance(value, (dict, list)):
            count += len(value)
            rest += value.values() if isinstance(value, dict) else value
    return count


def _integers(value: Any) -> Iterator[int]:
    """All integers in a value of JSON."""
    rest = [value]
    while rest:
        value = rest.pop()
        if isinstance(value, int):
            yield value
        elif isinstance(value, (dict, list)):
            rest += value.values() if isinstance(value, dict) else value


def explained(error: str, schema: Any, where: str) -> str:
    """An error of the compiler in terms of the schema: where it is, and which keyword."""
    return _explained(error, json.dumps(schema), where)


@lru_cache(maxsize=16)  # a schema that is enforced in part is looked at with every request
def _explained(error: str, text: str, where: str) -> str:
    schema = json.loads(text)
    if len(text) <= MOST_EXPLAINED:
        from jsonschema import Draft202012Validator
        from jsonschema.exceptions import best_match

        meta = Draft202012Validator(Draft202012Validator.META_SCHEMA)
        invalid = best_match(meta.iter_errors(schema))
        if invalid is not None:
            return f"{where}{invalid.json_path[1:]}: {cut(invalid.message, 200)}"
    if error.startswith(TOO_LARGE):
        return f"{where}: {error}"
    first = error.partition("\n")[0]
    for path, key, value in keywords(schema, where):
        named = re.search(rf'"{re.escape(key)}"|\b{re.escape(key)} constraints', error)
        if named:
            return f"{path}.{key}: {key!r} cannot be enforced here"
        if key == "format" and error.startswith("Unknown format") and error.endswith(f" {value}"):
            return f"{path}.format: the format {value!r} is not known"
        if key == "pattern" and "regex" in error:
            return f"{path}.pattern: {short(value)} cannot be enforced: {_last(error)}"
        if key == "$ref" and isinstance(value, str) and value[1:] and value[1:] in error:
            return f"{path}.$ref: {value!r} does not exist"
    if "NoExtension" in error:
        return f"{where}: no value fits the schema; does a $ref lead to itself?"
    return f"{where}: {first}"


def _last(error: str) -> str:
    return cut(error.rpartition("error: ")[2].partition("\n")[0], 120)
