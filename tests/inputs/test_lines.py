"""Lines as they are read, and lines of JSON as they are written."""

from __future__ import annotations

import io
import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cactus.inputs import lines
from cactus.inputs.lines import Wrong, float32_list, json_line, numbered_lines

ROWS = st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.text()), max_size=4)


def float32(value: float) -> bytes:
    """The bytes of a number."""
    return struct.pack("f", value)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False)), ROWS)
def test_numbers_stay_themselves(values: list[float], row: dict[str, Any]) -> None:
    line = json_line({**row, "embedding": float32_list(values), "error": None})
    read = json.loads(line)
    numbers = read["embedding"]
    assert all(type(number) is float for number in numbers)
    assert [*map(float32, numbers)] == [*map(float32, values)]
    assert {**read, "embedding": 0} == {**row, "embedding": 0, "error": None}
    assert "\n" not in line


def test_digits_are_those_that_a_number_has() -> None:
    numbers = float32_list([1.0, -0.0, 0.1, 1e-30, math.pi, 1e8])
    assert (
        numbers == "[1.00000000, -0.00000000, 0.100000000, 1.00000000e-30, 3.14159265, 100000000.0]"
    )


def test_half_characters_stay_escapes_beside_numbers() -> None:
    row = {"text": "\ud800é", "embedding": float32_list([0.5])}
    assert json_line(row) == '{"text": "\\ud800\\u00e9", "embedding": [0.500000000]}'


def test_each_line_has_its_number_whatever_stands_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lines, "LONGEST", 8)
    for long in (b"123456789", b"1234567890123456", b"1" * 100):
        stream = io.BytesIO(b"\xef\xbb\xbfone\n" + long + b"\r\n\xff\n\n1234567\nlast")
        assert list(numbered_lines(stream)) == [
            (1, "one"),
            Wrong(2, "is longer than 0 MB"),
            Wrong(3, "is not UTF-8 (at byte 0)"),
            (4, ""),
            (5, "1234567"),
            (6, "last"),
        ]
