"""What a conversion remembers of its file, to notice later that another one is in its place."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cactus.errors import CactusError
from cactus.inputs.files import RegularFile

SAMPLES = 256
SAMPLE_BYTES = 4096


def describe_file(file: RegularFile, header_bytes: int) -> dict[str, Any]:
    """Name and size, the SHA-256 of all but the tensors, and that of samples of the tensors.

    The header has to be one whose length follows from itself, as in GGUF and safetensors.
    """
    header = hashlib.sha256(file.read(0, header_bytes))
    return {
        "file": file.path.name,
        "bytes": file.size,
        "header_bytes": header_bytes,
        "header_sha256": header.hexdigest(),
        "samples_sha256": _samples(file, header_bytes, header.digest()),
    }


def is_described(path: Path, origin: Any) -> bool:
    """Whether the file at `path` is still the one that `describe_file` described.

    So have to be the other parts of a model, which are in the list `parts`. Size and date do not
    tell: copies may keep the date. Reads the header and a megabyte of the rest, which takes some
    milliseconds.
    """
    header_bytes = origin.get("header_bytes") if isinstance(origin, Mapping) else None
    if type(header_bytes) is not int:
        return False
    try:
        file = RegularFile(path)
    except CactusError:
        return False
    try:
        found = describe_file(file, header_bytes)
    except CactusError:
        return False
    finally:
        file.close()
    if any(origin.get(key) != value for key, value in found.items() if key != "file"):
        return False
    parts = origin.get("parts", [])
    return isinstance(parts, list) and all(
        isinstance(part, Mapping) and is_described(path.with_name(str(part.get("file"))), part)
        for part in parts
    )


def _samples(file: RegularFile, start: int, key: bytes) -> str:
    """The SHA-256 of pieces from all over the tensors, at places that depend on the `key`."""
    stretch = (file.size - start) // SAMPLES
    if stretch <= SAMPLE_BYTES:
        return hashlib.sha256(file.read(start, file.size - start)).hexdigest()
    rng = random.Random(key)
    digest = hashlib.sha256()
    for first in range(start, start + SAMPLES * stretch, stretch):
        digest.update(file.read(first + rng.randrange(stretch - SAMPLE_BYTES), SAMPLE_BYTES))
    return digest.hexdigest()
