"""Models that say what a test has written for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cactus.model import Model
from tests.generate.scripted import with_program


@pytest.fixture
def make(scripted_model: Callable[..., Model]) -> Callable[..., tuple[Model, Any]]:
    """Makes models around scripts, each with its program."""
    return lambda script, **options: with_program(
        scripted_model(script, **{"chunk": 16, **options})
    )
