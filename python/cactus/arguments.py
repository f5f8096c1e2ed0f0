"""What the arguments of the flat functions may be; an error names the argument, and what it was."""

from __future__ import annotations

import os
from typing import Any

from cactus.errors import InvalidRequest


def path(name: str, value: object) -> str | os.PathLike[str]:
    """`value` if it names a file or folder, or InvalidRequest naming `name`."""
    if not isinstance(value, (str, os.PathLike)):
        raise wrong(name, "a path: a string or an os.PathLike", value)
    return value


def audio(name: str, value: Any) -> Any:
    """`value` if it may be a recording, or InvalidRequest naming `name`."""
    if isinstance(value, (str, os.PathLike)) or callable(getattr(value, "read", None)):
        return value
    if _may_be_samples(value):
        return value
    raise wrong(name, "a path, the bytes of a file, a binary file or an array of samples", value)


def samples(name: str, value: Any) -> Any:
    """`value` if it may be samples, or InvalidRequest naming `name`."""
    if not _may_be_samples(value):
        raise wrong(name, "bytes of 16-bit samples, or an array or list of samples", value)
    return value


def wrong(name: str, wanted: str, value: object) -> InvalidRequest:
    """The error for a value of a kind that is not `wanted`."""
    got = "None" if value is None else type(value).__name__
    return InvalidRequest(f"{name} must be {wanted}, got {got}")


def _may_be_samples(value: Any) -> bool:
    if isinstance(value, (bytes, bytearray, memoryview, list, tuple)):
        return True
    return any(hasattr(value, name) for name in ("__array__", "__array_interface__", "__buffer__"))
