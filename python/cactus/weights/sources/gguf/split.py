"""GGUF files in several parts, ``NAME-00001-of-00003.gguf`` and so on, read as one.

The first part has the model's metadata; every part has a table of the tensors that are in it, its
number ``split.no`` (from 0), ``split.count``, and ``split.tensors.count``, the tensors of all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from cactus.errors import ModelFormatError, ModelNotFound
from cactus.inputs.checks import short
from cactus.weights.sources.gguf.file import GGUFFile

MAX_PARTS = 1000

_NAME = re.compile(r"(?P<stem>.*-)(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf)", re.I)


def part_count(metadata: dict[str, Any]) -> int:
    """How many files the model lies in."""
    count = metadata.get("split.count", 0)
    if type(count) is not int or not 0 <= count <= MAX_PARTS:
        raise ModelFormatError(
            f"split.count is {short(count)}, expected a number of parts up to {MAX_PARTS}"
        )
    return max(1, count)


def part_names(name: str) -> list[str]:
    """The names of all parts of the model that a part of this name belongs to; itself if whole."""
    match = _NAME.fullmatch(name)
    if match is None or not 1 <= int(match["count"]) <= MAX_PARTS:
        return [name]
    return [
        f"{match['stem']}{index:05d}-of-{match['count']}{match['suffix']}"
        for index in range(1, int(match["count"]) + 1)
    ]


def joined(first: GGUFFile, read_part: Callable[[Path], GGUFFile]) -> GGUFFile:
    """The whole model, from its opened first part.

    Raises `ModelFormatError` naming parts that are missing or of another model.
    """
    count = part_count(first.metadata)
    paths = _paths(first, count)
    missing = [path.name for path in paths[1:] if not path.exists()]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise ModelFormatError(
            f"this is the first of {count} parts, and {', '.join(missing[:3])}{more} "
            f"{'is' if len(missing) == 1 else 'are'} missing; put all parts into one folder"
        )
    tensors = dict(first.tensors)
    parts = []
    with ExitStack() as opened:
        for index, path in enumerate(paths[1:], 1):
            try:
                part = read_part(path)
            except ModelNotFound as error:
                raise ModelFormatError(str(error)) from None
            opened.callback(part.close)
            _check_part(part, index, count)
            for name, tensor in part.tensors.items():
                if name in tensors:
                    raise ModelFormatError(
                        f"tensor {name!r} is in {path.name} and in a part before it; "
                        "they are not of one model"
                    )
                tensors[name] = replace(tensor, part=index)
            parts.append(part)
        expected = first.metadata.get("split.tensors.count", len(tensors))
        if len(tensors) != expected:
            raise ModelFormatError(
                f"split.tensors.count is {short(expected)}, but the {count} parts have "
                f"{len(tensors)} tensors; they are not of one model"
            )
        opened.pop_all()
    return replace(first, tensors=tensors, more=tuple(parts))


def _paths(first: GGUFFile, count: int) -> list[Path]:
    """The files of all parts."""
    number = first.metadata.get("split.no", 0)
    names = part_names(first.path.name)
    if len(names) != count:
        raise ModelFormatError(
            f"this is one of {count} parts, which are found by their names; "
            f"expected a name that ends in -00001-of-{count:05d}.gguf"
        )
    if number != 0 or names[0] != first.path.name:
        raise ModelFormatError(
            f"this is the part with split.no {short(number)} of {count}; give the first, {names[0]}"
        )
    return [first.path.with_name(name) for name in names]


def _check_part(part: GGUFFile, index: int, count: int) -> None:
    for key, expected in (("split.no", index), ("split.count", count)):
        found = part.metadata.get(key)
        if found != expected:
            raise ModelFormatError(
                f"{part.path}: {key} is {short(found)}, expected {expected}; "
                "it is a part of another model"
            )
