"""Helpers of the chat tests."""

from __future__ import annotations

import resource
from collections.abc import Callable

import pytest


@pytest.fixture
def peak_memory_mb() -> Callable[[], float]:
    """The most memory this process has used so far."""
    return lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
