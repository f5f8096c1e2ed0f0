"""How errors show values: bounded, and saying so where they are cut."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cactus.errors import InvalidRequest
from cactus.inputs.checks import known, nearest, short
from cactus.inputs.text import cut
from tests.background import ROOT


@pytest.mark.parametrize("text", ["", "model.norm", "it's", "two\nlines", "ñ" * 80])
def test_a_text_that_fits_is_shown_whole(text: str) -> None:
    assert short(text) == repr(text)
    assert cut(text) == text


@pytest.mark.parametrize("most", [1, 80, 160])
def test_a_long_text_is_marked_as_cut_and_its_length_is_said(most: int) -> None:
    text = "x" * (most + 1)
    assert short(text, most) == f"'{'x' * most}…' ({most + 1} characters)"
    assert cut(text, most) == f"{'x' * most}… ({most + 1} characters)"


@pytest.mark.parametrize("value", [None, True, 5, 2.5, [1, 2], {"a": [None]}, b"\0", ("a", 1)])
def test_other_values_are_shown_as_python_writes_them(value: Any) -> None:
    assert short(value) == repr(value)


def test_a_value_of_any_size_is_shown_shortly() -> None:
    nested: Any = "leaf"
    for _ in range(50):
        nested = [nested] * 100
    for value in (nested, {i: "y" * 500 for i in range(1000)}, [["z" * 999] * 9] * 9):
        assert len(short(value)) < 400
        assert re.search(r"\.\.\.|…", short(value))
    assert short(-(10**6000)) == "about -2**19931"


def test_a_value_that_cannot_be_represented_is_shown_by_its_type() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert "Broken" in short(Broken())


def test_a_value_that_lies_about_its_class_is_shown() -> None:
    class Liar:
        @property
        def __class__(self) -> Any:  # type: ignore[override]
            raise RuntimeError("no")

    assert "Liar" in short(Liar())


@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_of_many_bytes_only_those_that_are_shown_are_written(
    kind: Callable[[bytes], Any],
) -> None:
    value = kind(b"\xff" * 10**7)
    tracemalloc.start()
    try:
        shown = [short(value), short([value])]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 10**6
    assert all("… (10000000 bytes)" in each and len(each) < 400 for each in shown)


def test_what_an_object_says_of_itself_is_shown_in_one_line() -> None:
    class Coloured:
        def __repr__(self) -> str:
            return "one\n\x1b[31mtwo\ud800"

    assert short(Coloured()) == "one [31mtwo"
    assert "\n" not in short(np.zeros((3, 3)))


def test_no_message_cuts_a_value_by_hand() -> None:
    by_hand = re.compile(r"\[:\d{2,}\](!r)?\}|![rs]:\.\d+\}")
    not_messages = ("begins with", "hexdigest()", "path.stem")
    found = {
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / "python" / "cactus").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if by_hand.search(line) and not any(map(line.__contains__, not_messages))
    }
    assert found == set()


def test_a_name_of_any_length_is_compared_by_its_beginning() -> None:
    assert nearest("temperatur", ["temperature", "top_k"]) == "temperature"
    assert nearest("temperatur" * 1_000_000, ["temperature", "top_k"]) is None
    with pytest.raises(InvalidRequest, match=r"unknown option 'tttt.* the options are top_k$"):
        known(["t" * 10_000_000], ["top_k"])
