"""Lines of text and of JSON: one after another, each with its number or with what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from cactus.inputs.text import cut

LONGEST = 64 << 20
"""Bytes of one line at most."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A line that cannot be read, its number (from 1 on), and why."""

    number: int
    reason: str


def numbered_lines(stream: IO[bytes]) -> Iterator[tuple[int, str] | Wrong]:
    """The lines of a stream as they come, with their numbers, without their ends."""
    number = 0
    while raw := stream.readline(LONGEST + 1):
        number += 1
        if len(raw) > LONGEST:
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(LONGEST)
            yield Wrong(number, f"is longer than {LONGEST >> 20} MB")
            continue
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            yield Wrong(number, f"is not UTF-8 (at byte {error.start})")
            continue
        yield number, line


def parse_row(line: str) -> dict[str, Any]:
    """The object of a line of JSON; ValueError says what it is instead."""
    try:
        row = json.loads(line, parse_constant=_not_json, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise ValueError("is not a JSON object")
    return row


def _not_json(name: str) -> float:
    raise ValueError(f"{name} is not a number of JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):  # it could not be written again
        raise ValueError(f"{cut(digits)} is too large a number")
    return value


class Json(str):
    """A text that is a value of JSON, which `json_line` writes as it is."""

    __slots__ = ()


def float32_list(values: Sequence[float]) -> Json:
    """Numbers with as many digits as float32 has, each with a point; they have to be finite."""
    # One text for all: a call for each number took a fifth of the time of a job.
    text = "%#.9g, " * len(values) % tuple(values)
    return Json(f"[{text.replace('., ', '.0, ')[:-2]}]")


def json_line(row: Mapping[str, Any]) -> str:
    """A line of a result; half characters, which JSON may have as escapes, stay escapes."""
    line = _line(row, ascii=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        return _line(row, ascii=True)
    return line


def _line(row: Mapping[str, Any], *, ascii: bool) -> str:
    if not any(isinstance(value, Json) for value in row.values()):
        return json.dumps(row, ensure_ascii=ascii)
    members = [
        f"{json.dumps(name, ensure_ascii=ascii)}: "
        f"{value if isinstance(value, Json) else json.dumps(value, ensure_ascii=ascii)}"
        for name, value in row.items()
    ]
    return f"{{{', '.join(members)}}}"
