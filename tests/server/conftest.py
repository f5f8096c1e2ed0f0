"""A running server for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.running import Running, serving


@pytest.fixture(scope="session")
def server(tiny_model: Path) -> Iterator[Running]:
    """A server of `tiny_model` ("tiny"), one for the session: who changes it puts it back.

    Other models, keys or limits: ``with serving(folder, keys=("secret",)) as server``.
    """
    with serving(tiny_model) as running:
        yield running
