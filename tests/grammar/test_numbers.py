from __future__ import annotations

import pytest

from cactus.grammar.numbers import digits_left, is_too_long, number_in


@pytest.mark.parametrize(
    ("said", "number"),
    [
        (b'{"a": 12', b"12"),
        (b"[-3.5e", b"-3.5e"),
        (b"true", b""),
        (b"", b""),
        (b"12, ", b""),
    ],
)
def test_a_number_is_found_at_the_end_of_what_was_said(said: bytes, number: bytes) -> None:
    assert number_in(said) == number


@pytest.mark.parametrize(
    ("number", "left"),
    [
        (b"1", 31),
        (b"1" * 32, 0),
        (b"1" * 40, 0),
        (b"1e", 2),
        (b"1.5e-3", 1),
        (b"1E+12", 0),
        (b"", 32),
    ],
)
def test_a_number_may_get_so_many_more_digits(number: bytes, left: int) -> None:
    assert digits_left(number) == left


def test_a_token_is_too_long_where_its_digits_are_too_many() -> None:
    assert is_too_long(b"123", 2) and not is_too_long(b"12}", 2)
    assert is_too_long(b"e999", 9) and not is_too_long(b"e99", 9)
    assert not is_too_long(b"}", 0) and is_too_long(b"0", 0)
