"""What functions return, as a model is told it."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from cactus.schemas.spell import spell


class Colour(Enum):
    RED = "red"


@dataclass
class Thing:
    name: str
    colour: Colour


class Pair(NamedTuple):
    a: int
    b: float


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("22 °C", "22 °C"),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
        ({"t": "22 °C", 1: [2]}, '{"t": "22 °C", "1": [2]}'),
        ((1, 2), "[1, 2]"),
        (Thing("x", Colour.RED), '{"name": "x", "colour": "red"}'),
        (Pair(1, 2.0), '{"a": 1, "b": 2.0}'),
        (datetime.date(2026, 1, 31), '"2026-01-31"'),
        (np.float32(0.5), "0.5"),
        (np.arange(3), "[0, 1, 2]"),
        (Path("a") / "b", '"a/b"'),
        (range(3), "[0, 1, 2]"),
        (Colour.RED, '"red"'),
        (b"\xff", "\"b'\\\\xff'\""),
    ],
)
def test_a_text_stays_and_all_else_is_json(value: Any, text: str) -> None:
    assert spell(value) == text
