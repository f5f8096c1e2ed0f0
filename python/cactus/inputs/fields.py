"""Reading config.json: every value is checked before anything is built from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cactus.errors import ModelFormatError, UnsupportedModel
from cactus.inputs.checks import short

_MISSING = object()


class Fields:
    """Checked access to the keys of one config. Keys that nobody asks for are ignored.

    Every method raises ModelFormatError naming the key, what is wanted and what is there. A missing
    key and null give ``default``; without a default they are an error too.
    """

    def __init__(self, raw: Mapping[str, Any], where: str = "config.json") -> None:
        if not isinstance(raw, Mapping):
            raise ModelFormatError(f"{where}: want a JSON object, got {type(raw).__name__}")
        self.raw = raw
        self.where = where

    def updated(self, values: Mapping[str, Any]) -> Fields:
        """The same config with some keys replaced."""
        return Fields({**self.raw, **values}, self.where)

    def error(self, name: str, want: str, got: Any) -> ModelFormatError:
        """The error to raise for a key whose value is not what it must be."""
        return ModelFormatError(f"{self.where}: {name}: want {want}, got {short(got)}")

    def has(self, name: str) -> bool:
        """Whether the key is there and not null."""
        return self.raw.get(name) is not None

    def integer(
        self, name: str, low: int, high: int, default: Any = _MISSING, multiple: int = 1
    ) -> int:
        """An integer from ``low`` to ``high``, a multiple of ``multiple``."""
        value = self._get(name, default)
        fits = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        if not fits or value % multiple:
            of = f" that is a multiple of {multiple}" if multiple > 1 else ""
            raise self.error(name, f"an integer from {low} to {high}{of}", value)
        return int(value)

    def number(self, name: str, low: float, high: float, default: Any = _MISSING) -> float:
        """A finite number from ``low`` to ``high``."""
        value = self._get(name, default)
        real = isinstance(value, int | float) and not isinstance(value, bool)
        if not real or not low <= value <= high or not math.isfinite(value):
            raise self.error(name, f"a number from {low:g} to {high:g}", value)
        return float(value)

    def numbers(self, name: str, count: int, low: float, high: float) -> list[float]:
        """A list of ``count`` numbers from ``low`` to ``high``."""
        value = self._get(name, _MISSING)
        if not isinstance(value, list) or len(value) != count:
            raise self.error(name, f"a list of {count} numbers", value)
        return [Fields({name: each}, self.where).number(name, low, high) for each in value]

    def flag(self, name: str, default: Any = _MISSING) -> bool:
        """true or false."""
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self.error(name, "true or false", value)
        return value

    def choice(self, name: str, known: Sequence[str], default: Any = _MISSING) -> str:
        """One of the ``known`` words; UnsupportedModel for another word."""
        value = self._get(name, default)
        if not isinstance(value, str):
            raise self.error(name, "one of " + ", ".join(known), value)
        if value not in known:
            raise UnsupportedModel(
                f"{self.where}: {name} {short(value)} is not supported; known: {', '.join(known)}"
            )
        return value

    def words(self, name: str, count: int, known: Sequence[str]) -> list[str] | None:
        """A list with one of the ``known`` words for each layer, or None where there is none."""
        value = self.raw.get(name)
        if value is None:
            return None
        right = isinstance(value, list) and all(word in known for word in value)
        if not right or len(value) != count:
            want = f"a list of num_hidden_layers = {count} words, each one of {', '.join(known)}"
            raise self.error(name, want, value)
        return list(value)

    def refuse(self, name: str, why: str) -> None:
        """UnsupportedModel if the key is true (a feature that is not there)."""
        if self.flag(name, False):
            raise UnsupportedModel(f"{self.where}: {name} is true, but {why}")

    def object(self, name: str) -> Fields | None:
        """The nested object under ``name``, or None where there is none."""
        if not self.has(name):
            return None
        return Fields(self.raw[name], f"{self.where}: {name}")

    def _get(self, name: str, default: Any) -> Any:
        value = self.raw.get(name)
        if value is None:
            if default is _MISSING:
                raise self.error(name, "a value", None if name in self.raw else "nothing")
            return default
        return value
