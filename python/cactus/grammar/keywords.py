"""The keywords of a JSON schema, wherever they stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cactus.inputs.text import cut


def keywords(schema: Any, path: str) -> Iterator[tuple[str, str, Any]]:
    """The keywords of a schema and of those in it: path, keyword and value."""
    if not isinstance(schema, dict):
        return
    for key, value in schema.items():
        yield path, key, value
        if key in ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas"):
            if isinstance(value, dict):
                for name, each in value.items():
                    yield from keywords(each, f"{path}.{key}.{cut(name)}")
        elif key not in ("const", "enum", "default", "examples"):
            if isinstance(value, list):
                for n, each in enumerate(value):
                    yield from keywords(each, f"{path}.{key}[{n}]")
            else:
                yield from keywords(value, f"{path}.{key}")
