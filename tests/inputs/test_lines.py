"""Lines of JSON as they are written."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cactus.inputs.lines import float32_list, json_line

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
