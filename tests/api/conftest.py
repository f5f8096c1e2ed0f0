"""The scripted engine, and models around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cactus.model import Model


@pytest.fixture
def scripted_model() -> Iterator[Callable[..., Model]]:
    """Makes models around scripts; they are closed when the test is over."""
    from tests.generate.scripted import scripted_engine

    made: list[Model] = []

    def make(script: Any, **options: Any) -> Model:
        made.append(Model.from_engine(scripted_engine(script, **options)))
        return made[-1]

    yield make
    for model in made:
        model.close()
