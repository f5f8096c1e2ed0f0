"""Checked access to what a GGUF file says of itself."""

from __future__ import annotations

from typing import Any

from cactus.errors import ModelFormatError
from cactus.inputs.checks import short


class Facts:
    """Typed access to the metadata of a GGUF file; `{arch}` in a key stands for its architecture.

    Every method raises `ModelFormatError` naming the key, what it is and what was expected.
    """

    def __init__(self, metadata: dict[str, Any], architecture: str) -> None:
        self._metadata = metadata
        self._architecture = architecture

    def key(self, name: str) -> str:
        """The key as it is in the file."""
        return name.replace("{arch}", self._architecture)

    def get(self, name: str) -> Any:
        """The value as it is, or None."""
        return self._metadata.get(self.key(name))

    def integer(
        self, name: str, low: int, high: int, default: int | None = None, *, multiple: int = 1
    ) -> int:
        """An integer from `low` to `high` that is a multiple of `multiple`."""
        value = self._metadata.get(self.key(name), default)
        if type(value) is not int or not low <= value <= high or value % multiple:
            step = f", a multiple of {multiple}" if multiple > 1 else ""
            wanted = str(low) if low == high else f"an integer from {low} to {high}{step}"
            raise ModelFormatError(f"{self.key(name)} is {show(value)}, expected {wanted}")
        return value

    def number(self, name: str, low: float, high: float, default: float | None = None) -> float:
        """A finite number from `low` to `high`."""
        value = self._metadata.get(self.key(name), default)
        if (
            not isinstance(value, (int, float))
            or isinstance(value, bool)
            or not low <= value <= high  # NaN fails here too.
        ):
            raise ModelFormatError(
                f"{self.key(name)} is {show(value)}, expected a number from {low:g} to {high:g}"
            )
        return float(value)

    def numbers(self, name: str, count: int) -> list[float]:
        """An array of `count` finite numbers."""
        value = self._metadata.get(self.key(name))
        values: list[Any] = value if isinstance(value, list) else []
        finite = all(type(x) in (int, float) and abs(x) < 1e9 for x in values)
        if len(values) != count or not finite:
            raise ModelFormatError(f"{self.key(name)} is {show(value)}, expected {count} numbers")
        return [float(x) for x in values]

    def text(self, name: str, limit: int) -> str | None:
        """A string of at most `limit` characters, or None when it is missing."""
        value = self._metadata.get(self.key(name))
        if value is not None and (not isinstance(value, str) or len(value) > limit):
            raise ModelFormatError(
                f"{self.key(name)} is {show(value)}, expected a string of at most {limit}"
            )
        return value

    def per_layer(self, name: str, layers: int, low: int, high: int) -> list[int]:
        """An integer for each layer, given as one number for all or as an array."""
        value = self._metadata.get(self.key(name))
        values: list[Any] = value if isinstance(value, list) else [value] * layers
        if len(values) != layers or not all(type(x) is int and low <= x <= high for x in values):
            raise ModelFormatError(
                f"{self.key(name)} is {show(value)}, expected one integer or {layers}, "
                f"each from {low} to {high}"
            )
        return values

    def flags(self, name: str, layers: int) -> list[bool]:
        """An array of true or false for each layer; some converters write 0 and 1."""
        value = self._metadata.get(self.key(name))
        if not isinstance(value, list) or len(value) != layers or not set(value) <= {0, 1}:
            raise ModelFormatError(
                f"{self.key(name)} is {show(value)}, expected true or false for {layers} layers"
            )
        return [bool(item) for item in value]


def show(value: Any) -> str:
    """A value of any size, short enough for a message."""
    return "missing" if value is None else short(value)
