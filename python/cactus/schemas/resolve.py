"""From a type hint to its kind."""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import datetime
import decimal
import enum
import pathlib
import re
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from cactus.errors import InvalidRequest
from cactus.schemas.bounds import Bounded, fitting, keywords_of
from cactus.schemas.docstrings import parse_docstring
from cactus.schemas.kinds import (
    NAMES,
    AnyOf,
    Anything,
    Array,
    Choice,
    Definitions,
    Kind,
    Plain,
    Schema,
    Spelled,
    Table,
    Tuple,
)
from cactus.schemas.objects import Field, Pydantic, Record

_LISTS: dict[Any, Any] = {
    list: list, abc.Sequence: list, abc.MutableSequence: list, abc.Iterable: list,
    abc.Collection: list, set: set, abc.Set: set, abc.MutableSet: set, frozenset: frozenset,
}  # fmt: skip
_TABLES = (dict, abc.Mapping, abc.MutableMapping)


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))


_SPELLED = {
    datetime.datetime: ("date-time", "a time such as 2026-01-31T12:00:00Z", _moment),
    datetime.date: ("date", "a date such as 2026-01-31", datetime.date.fromisoformat),
    datetime.time: ("time", "a time such as 12:00:00", datetime.time.fromisoformat),
    uuid.UUID: ("uuid", "a UUID", uuid.UUID),
}


def kind_of(hint: Any, place: str) -> Kind:
    """What ``hint`` asks of a JSON value. Raises InvalidRequest naming ``place`` if JSON has none.

    ``place``: the function or field that has the hint, for errors.
    """
    if hint is Any or hint is object or isinstance(hint, typing.TypeVar):
        return Anything()
    if isinstance(hint, (list, dict, set)):
        raise _unknown(hint, place, "use a type, such as list[int]")
    if hint is None:
        return Plain(type(None))
    if isinstance(hint, type) and hint in NAMES:
        return Plain(hint)
    if isinstance(hint, type) and hint in _SPELLED:
        name, wanted, parse = _SPELLED[hint]
        return Spelled({"type": "string", "format": name}, wanted, parse)
    if hint is decimal.Decimal:
        return Spelled({"type": "number"}, "a number", lambda value: decimal.Decimal(str(value)))
    if isinstance(hint, type) and issubclass(hint, pathlib.PurePath):
        return Spelled({"type": "string"}, "a path", hint)
    if hasattr(hint, "__supertype__"):  # a NewType
        return kind_of(hint.__supertype__, place)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        if not list(hint):
            raise _unknown(hint, place, "it has no members")
        return Choice(list(hint))
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        found = _record(hint)
        if found is not None:
            return found
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Annotated:
        return _annotated(arguments[0], hint.__metadata__, place)
    if origin is typing.Literal:
        if not all(isinstance(each, enum.Enum) or type(each) in NAMES for each in arguments):
            raise _unknown(hint, place, "use strings, integers, booleans, None, members of an Enum")
        return Choice(arguments)
    if origin in (typing.Union, types.UnionType):
        return AnyOf([kind_of(each, place) for each in arguments])
    if origin in _LISTS:
        return Array(kind_of(arguments[0] if arguments else Any, place), _LISTS[origin])
    if origin is tuple:
        if not arguments:
            return Array(Anything(), tuple)
        if arguments[-1] is ...:
            return Array(kind_of(arguments[0], place), tuple)
        return Tuple([kind_of(each, place) for each in arguments])
    if origin in _TABLES:
        keys, values = arguments or (str, Any)
        if keys not in (str, Any):
            raise _unknown(hint, place, "keys of objects are strings: use dict[str, ...]")
        return Table(kind_of(values, place))
    if hasattr(hint, "__value__"):  # type Name = ...
        return kind_of(hint.__value__, place)
    raise _unknown(hint, place, "use str, int, float, bool, list, dict, Literal, Enum, Optional or "
                   "a dataclass, a TypedDict, a named tuple of them")  # fmt: skip


def _unknown(hint: Any, place: str, advice: str) -> InvalidRequest:
    name = hint.__name__ if isinstance(hint, type) else str(hint)
    return InvalidRequest(f"{place}: JSON has nothing for the type {name}; {advice}")


def _annotated(hint: Any, marks: Any, place: str) -> Kind:
    kind = kind_of(hint, place)
    keywords = keywords_of(marks, place)
    if not keywords:
        return kind
    # A schema of a definition is only looked at for its type, and thrown away.
    return Bounded(kind, fitting(keywords, kind.schema(Definitions())))


def _record(hint: Any) -> Kind | None:
    """The kind of a class with fields, or None."""
    if hasattr(hint, "model_json_schema") and hasattr(hint, "model_validate"):
        return Pydantic(hint)
    name, doc = hint.__name__, hint.__doc__ or ""
    # The docstring that such a class has by itself says nothing.
    said = parse_docstring("" if doc.startswith(f"{name}(") else doc)
    make: Callable[[dict[str, Any]], Any] = dict
    if dataclasses.is_dataclass(hint):
        read = _of_dataclass
    elif issubclass(hint, tuple) and hasattr(hint, "_fields"):
        read = _of_named_tuple
    elif issubclass(hint, dict) and hasattr(hint, "__required_keys__"):
        read = _of_typed_dict
    else:
        return None
    if read is not _of_typed_dict:
        make = lambda values: hint(**values)  # noqa: E731
    return Record(hint, name, lambda: read(hint, said.parameters), make, said.description or None)


def _of_dataclass(hint: Any, texts: Mapping[str, str]) -> dict[str, Field]:
    hints = hints_of(hint)
    found = {}
    for each in dataclasses.fields(hint):
        if not each.init:
            continue
        given = each.default is not dataclasses.MISSING
        made = each.default_factory is not dataclasses.MISSING
        found[each.name] = Field(
            kind_of(hints[each.name], f"{hint.__name__}.{each.name}"),
            required=not (given or made),
            default=each.default if given else None,
            description=each.metadata.get("description") or texts.get(each.name),
        )
    return found


def _of_named_tuple(hint: Any, texts: Mapping[str, str]) -> dict[str, Field]:
    hints = hints_of(hint)
    return {
        name: Field(
            kind_of(hints.get(name, Any), f"{hint.__name__}.{name}"),
            required=name not in hint._field_defaults,
            default=hint._field_defaults.get(name),
            description=texts.get(name),
        )
        for name in hint._fields
    }


def _of_typed_dict(hint: Any, texts: Mapping[str, str]) -> dict[str, Field]:
    found = {}
    for name, of_field in hints_of(hint).items():
        required = name in hint.__required_keys__
        # Where hints are texts, the class itself has not seen these words.
        while (word := getattr(typing.get_origin(of_field), "_name", None)) in _WORDS:
            required = {"Required": True, "NotRequired": False}.get(str(word), required)
            of_field = typing.get_args(of_field)[0]
        kind = kind_of(of_field, f"{hint.__name__}.{name}")
        found[name] = Field(kind, required=required, description=texts.get(name))
    return found


_WORDS = ("Required", "NotRequired", "ReadOnly")


def hints_of(owner: Any) -> dict[str, Any]:
    """The type hints of a function or class, as types. Raises InvalidRequest where one is unknown.

    A hint that is a text is looked up where the owner was written, as far as that can be known.
    """
    name = getattr(owner, "__name__", type(owner).__name__)
    known = {name: owner} if isinstance(owner, type) else _closure(owner)
    try:
        return typing.get_type_hints(owner, localns=known, include_extras=True)
    except NameError as error:
        raise InvalidRequest(
            f"{name}: a type hint names {error.name!r}, which cannot be found; define or import it "
            "at the top of the module"
        ) from None
    except Exception as error:  # a text is Python code, which may be wrong in any way
        raise InvalidRequest(f"{name}: a type hint is not a type: {error}") from None


def _closure(function: Any) -> dict[str, Any]:
    code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
    names = code.co_freevars if code is not None and cells else ()
    found = {}
    for name, cell in zip(names, cells or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # it has no value yet
            continue
    return found


def schema_of(hint: Any, name: str = "schema") -> Schema:
    """The JSON schema of a type. Raises InvalidRequest naming what JSON has nothing for."""
    defs = Definitions()
    schema = kind_of(hint, name).schema(defs)
    return {**schema, "$defs": defs.schemas} if defs.schemas else schema


def build(value: Any, hint: Any, name: str = "value") -> Any:
    """The object of type ``hint`` that a JSON value stands for.

    Raises InvalidRequest naming the place in it that does not fit (``value.items[2].price``), and
    what JSON has nothing for.
    """
    return kind_of(hint, name).build(value, name)
