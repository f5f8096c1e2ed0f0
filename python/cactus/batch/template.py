"""Texts with places for a row's columns: ``Translate: {text}``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from string import Formatter
from typing import Any

from cactus.errors import InvalidRequest


class Template:
    """A text in which ``{name}`` stands for the column of that name; ``{{`` and ``}}`` are braces.

    `columns` are the names in it. Raises InvalidRequest naming `field` for anything else.
    """

    def __init__(self, field: str, text: str) -> None:
        self.text = text
        self._parts: list[tuple[str, str | None]] = []
        if not isinstance(text, str):
            raise InvalidRequest(f"{field} must be a text, got {type(text).__name__}")
        try:
            parsed = list(Formatter().parse(text))
        except ValueError as error:
            raise InvalidRequest(
                f"{field}: {error}; a column is {{name}}, a brace of the text {{{{ or }}}}"
            ) from None
        for literal, name, form, conversion in parsed:
            if name == "" or form or conversion:
                raise InvalidRequest(
                    f"{field}: expected the name of a column between braces, "
                    f"got {{{name or ''}{'!' if conversion else ''}{conversion or ''}"
                    f"{':' if form else ''}{form or ''}}}"
                )
            self._parts.append((literal, name))
        self.columns = [name for _, name in self._parts if name is not None]

    def fill(self, values: Mapping[str, Any]) -> str:
        """The text for a row; what is not a text is written as JSON.

        Raises InvalidRequest naming a column that is not there, or is null.
        """
        pieces = []
        for literal, name in self._parts:
            pieces.append(literal)
            if name is not None:
                pieces.append(_text_of(name, values))
        return "".join(pieces)


def missing_column(name: str, columns: Iterable[str]) -> str:
    """What is wrong where a column is not among those of a row."""
    return f"column {name!r} is needed, got the columns {', '.join(map(repr, columns))}"


def _text_of(name: str, values: Mapping[str, Any]) -> str:
    value = values.get(name)
    if value is None:
        if name in values:
            raise InvalidRequest(f"column {name!r} is needed, got null")
        raise InvalidRequest(missing_column(name, values))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
