"""Errors of a body name the very place."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest

from cactus.server import places
from cactus.server.anthropic.body import MessageRequest
from cactus.server.places import exact


class Inner(msgspec.Struct):
    name: str
    numbers: list[int] = []


class Outer(msgspec.Struct):
    rows: list[Inner]
    named: dict[str, Inner] = {}
    few: Annotated[list[int], msgspec.Meta(min_length=2)] | None = None


GOOD = {"name": "x", "numbers": [1, 2]}


def place(value: Any, kind: Any) -> str:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(value, kind)
    return exact(value, kind, str(caught.value).rpartition(" - at `")[2].rstrip("`"))


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ({"rows": [GOOD, GOOD, {"name": 5}]}, "$.rows[2].name"),
        ({"rows": [GOOD, {"name": "x", "numbers": [1, 2, "3"]}]}, "$.rows[1].numbers[2]"),
        ({"rows": [GOOD, {"name": "x", "numbers": "3"}]}, "$.rows[1].numbers"),
        ({"rows": [GOOD, GOOD, 7]}, "$.rows[2]"),
        ({"rows": [], "named": {"a": GOOD, "b": {"name": 1}}}, "$.named[b].name"),
        ({"rows": 5}, "$.rows"),
        ({"rows": [GOOD], "few": [1, "x"]}, "$.few[1]"),
    ],
)
def test_the_place_has_its_number(value: Any, want: str) -> None:
    assert place(value, Outer) == want


def test_a_block_of_a_message_is_found() -> None:
    text = {"type": "text", "text": "x"}
    turn = {"role": "user", "content": [text, {"type": "text", "text": None}]}
    body = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}, turn]}
    assert place(body, MessageRequest) == "$.messages[1].content[1].text"


def test_a_fault_among_many_is_found_in_few_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"rows": [GOOD] * 20_000, "named": {str(n): GOOD for n in range(20_000)}}
    value["named"]["12345"] = {"name": 1}
    looks: list[Any] = []
    convert = msgspec.convert

    def counted(*arguments: Any) -> Any:
        looks.append(arguments)
        return convert(*arguments)

    monkeypatch.setattr(places.msgspec, "convert", counted)
    path = "$.named[...].name"
    assert exact(value, Outer, path) == "$.named[12345].name"
    assert 1 < len(looks) <= 20


def test_a_place_that_is_not_there_keeps_its_dots() -> None:
    assert exact({"rows": [GOOD]}, Outer, "$.rows[...].name") == "$.rows[...].name"
