"""The types of the public API: for a user's type checker, and at run time."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from typing import Any

import pytest

import cactus
from tests.background import MYPY, ROOT

BACKGROUND = [MYPY]


def functions() -> Iterator[tuple[str, Any]]:
    """Every public function, and every public method and property of the public classes."""
    for name in cactus.__all__:
        public = getattr(cactus, name)
        if inspect.isfunction(public):
            yield name, public
        elif isinstance(public, type):
            for kind in public.__mro__:
                if not kind.__module__.startswith("cactus"):
                    continue
                for member, value in vars(kind).items():
                    if isinstance(value, property):
                        value = value.fget
                    value = getattr(value, "__func__", value)
                    public_name = not member.startswith("_") or member == "__enter__"
                    if inspect.isfunction(value) and public_name:
                        yield f"{name}.{member}", value
    yield "Model.__init__", cactus.Model.__init__
    yield "CactusModel.__init__", cactus.CactusModel.__init__


@pytest.mark.parametrize(("name", "function"), list(functions()))
def test_the_hints_of_every_public_function_can_be_read(name: str, function: Any) -> None:
    hints = typing.get_type_hints(function)
    assert "return" in hints or name.endswith("__init__"), name


CLASSES = [each for each in map(cactus.__getattr__, cactus.__all__) if isinstance(each, type)]


@pytest.mark.parametrize("kind", CLASSES)
def test_the_hints_of_every_public_class_can_be_read(kind: type) -> None:
    typing.get_type_hints(kind)


def test_options_are_typed_dicts_with_every_option() -> None:
    from cactus.generate.options import _CHECKS

    chat = typing.get_type_hints(cactus.ChatOptions)
    assert set(chat) == set(_CHECKS) - {"stop_sequences"}
    assert set(typing.get_type_hints(cactus.CompletionOptions)) < set(chat)


def test_the_package_is_typed_for_a_user() -> None:
    assert (ROOT / "python" / "cactus" / "py.typed").is_file()
    MYPY.succeed()  # of tests/api/user_view.py, too
