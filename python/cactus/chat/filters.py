"""The filters of chat templates: those whose cost is known beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from jinja2 import filters
from jinja2.exceptions import SecurityError
from jinja2.utils import pass_environment

from cactus.chat.budget import MAX_WIDTH
from cactus.chat.sandbox import Sandbox

# Jinja's own filters whose result is no larger than what they get.
_BUILTIN = (
    *("abs", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float"),
    *("groupby", "int", "items", "last", "length", "list", "lower", "map", "reject"),
    *("rejectattr", "reverse", "safe", "select", "selectattr", "title", "trim", "upper"),
    "wordcount",
)


def chat_sandbox() -> Sandbox:
    """The environment of chat templates, with the filters that they may use."""
    sandbox = Sandbox()
    sandbox.add_filters(_chat_filters(sandbox))
    return sandbox


def _chat_filters(sandbox: Sandbox) -> dict[str, Callable[..., Any]]:
    """All filters by name: some of Jinja's, and those that look at their arguments first."""
    own: dict[str, Callable[..., Any]] = {
        "format": _format(sandbox),
        "indent": _indent(sandbox),
        "join": _join(sandbox),
        "replace": _replace(sandbox),
        "round": _round,
        "string": lambda value: str(sandbox.measured(value)),
        "sum": _sum(sandbox),
        "tojson": _tojson(sandbox),
    }
    compared = {name: _compared(sandbox, name) for name in ("sort", "unique", "min", "max")}
    return {name: filters.FILTERS[name] for name in _BUILTIN} | compared | own


def _tojson(sandbox: Sandbox) -> Callable[..., str]:
    """Hugging Face's ``tojson``, which unlike Jinja's escapes nothing for HTML."""

    def tojson(
        x: Any,
        ensure_ascii: bool = False,
        indent: int | str | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        for width in (indent, *(separators or ())):
            _check_width(width, 16)
        sandbox.budget.measure(x)
        return json.dumps(
            x,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )

    return tojson


def _join(sandbox: Sandbox) -> Callable[..., str]:
    def join(value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
        if attribute is not None:
            value = map(filters.make_attrgetter(sandbox, attribute), value)
        return sandbox.join_values(value, str(d))

    return join


def _replace(sandbox: Sandbox) -> Callable[..., str]:
    def replace(s: Any, old: str, new: str, count: int | None = None) -> str:
        text = str(sandbox.measured(s))
        sandbox.check_method(text, "replace", (old, new))
        return text.replace(str(old), str(new), -1 if count is None else count)

    return replace


def _indent(sandbox: Sandbox) -> Callable[..., str]:
    def indent(s: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
        text = str(sandbox.measured(s))
        step = _check_width(width, MAX_WIDTH)
        sandbox.budget.charge(len(text) + (text.count("\n") + 1) * step)
        return filters.do_indent(text, width, first, blank)

    return indent


def _format(sandbox: Sandbox) -> Callable[..., str]:
    def format(value: Any, *args: Any, **kwargs: Any) -> str:
        sandbox.check_percent(str(value), [*args, *kwargs.values()])
        return filters.do_format(value, *args, **kwargs)

    return format


def _round(value: Any, precision: int = 0, method: Any = "common") -> Any:
    _check_width(abs(precision), 100)
    return filters.do_round(value, precision, method)


def _sum(sandbox: Sandbox) -> Callable[..., Any]:
    def total(iterable: Iterable[Any], attribute: Any = None, start: Any = 0) -> Any:
        if attribute is not None:
            iterable = map(filters.make_attrgetter(sandbox, attribute), iterable)
        numbers = [start, *iterable]
        if not all(isinstance(number, (int, float)) for number in numbers):
            raise SecurityError("it sums up what are not numbers")
        return sum(numbers[1:], numbers[0])

    return total


def _compared(sandbox: Sandbox, name: str) -> Callable[..., Any]:
    """A filter that compares the elements: their size is taken before."""
    function = filters.FILTERS[name]

    @pass_environment
    @wraps(function)
    def run(environment: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        items = list(value)
        sandbox.budget.measure(items)
        return function(environment, items, *args, **kwargs)

    return run


def _check_width(width: int | str | None, limit: int) -> int:
    size = width if isinstance(width, int) else len(width or "")
    if size > limit:
        raise SecurityError(f"it asks for a width of {size}; at most {limit} is allowed")
    return size
