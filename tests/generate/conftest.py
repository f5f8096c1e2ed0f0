"""Models that say what a test has written for them."""

from __future__ import annotations

from typing import Any

import pytest

from cactus.model import Model
from tests.generate.scripted import scripted_engine


@pytest.fixture
def make() -> Any:
    models: list[Model] = []

    def model(script: Any, **options: Any) -> tuple[Model, Any]:
        engine = scripted_engine(script, **{"chunk": 16, **options})
        models.append(Model.from_engine(engine))
        return models[-1], engine.program

    yield model
    for model_ in models:
        model_.close()
