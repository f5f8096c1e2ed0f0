"""Regular expressions of schemas, checked on a finished answer in bounded time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cactus.grammar.formats import Format
from cactus.grammar.matching import Unchecked, check_names, fits
from cactus.grammar.result import read


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("b", "abc", True),
        ("^b", "abc", False),
        (r"^\d{3}$", "1234", False),
        ("^é\\n$", "é\n", True),
        ('^["\\\\]+$', '"\\"', True),
        (r"^\p{L}+$", "äß", True),
    ],
)
def test_an_expression_is_looked_for_as_in_json_schema(
    pattern: str, text: str, found: bool
) -> None:
    assert fits(pattern, text) is found


@pytest.mark.fault("F38")
@pytest.mark.timeout(20)
@pytest.mark.parametrize("size", [30, 3_000])
def test_no_expression_takes_exponential_time(size: int) -> None:
    assert not fits("^(a+)+$", "a" * size + "!")
    assert fits("^(a|aa)*$", "a" * size)


def test_what_only_re_could_try_is_not_tried() -> None:
    for pattern in ("(?=x)y", r"(a)\1"):
        with pytest.raises(Unchecked):
            fits(pattern, "xy")
    check_names("^[a-z]+_.*$")
    for pattern in ("^(a+)+$", ".*a.*b.*"):
        with pytest.raises(Unchecked):
            check_names(pattern)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("schema", "value", "valid"),
    [
        ({"pattern": "^(a+)+$", "not": {"type": "null"}}, "a" * 40 + "!", False),
        ({"pattern": "^(a+)+$", "not": {"type": "null"}}, "a" * 40, True),
        ({"patternProperties": {"^(a+)+$": {}}, "not": {"type": "null"}}, {"a" * 40: 1}, None),
        ({"pattern": "(?=x)xy", "type": "string"}, "xy", None),
        ({"pattern": "(?=x)xy", "type": "string"}, 1, False),
    ],
)
def test_an_answer_is_valid_invalid_or_nobody_can_tell(
    schema: dict[str, Any], value: Any, valid: bool | None
) -> None:
    form = Format("json", schema, "schema")
    _, structure = read(json.dumps(value), form, ("something",))
    assert structure.valid is valid
