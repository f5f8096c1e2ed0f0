"""The scripted engine, and models around it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cactus.model import Model

# A plain helper module of the room below; importlib mode leaves its folder off the path.
sys.path.insert(0, str(Path(__file__).parent.parent / "generate"))


@pytest.fixture
def scripted_model() -> Iterator[Callable[..., Model]]:
    """Makes models around scripts; they are closed when the test is over."""
    from scripted import scripted_engine

    made: list[Model] = []

    def make(script: Any, **options: Any) -> Model:
        made.append(Model.from_engine(scripted_engine(script, **options)))
        return made[-1]

    yield make
    for model in made:
        model.close()
