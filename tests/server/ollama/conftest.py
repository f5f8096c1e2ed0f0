"""Ollama's own client against servers of models that are in memory already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ollama import Client

from cactus.model import Model
from tests.server.openai.conftest import keeping_script
from tests.server.running import serving

Ask = Callable[..., Client]


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> Iterator[Model]:
    """The same model as the one that is served, to compare with."""
    with Model(tiny_model) as model:
        yield model


@pytest.fixture(scope="module")
def url(tiny_model: Path) -> Iterator[str]:
    """A server of `tiny_model`, which it loads itself."""
    with serving(tiny_model) as running:
        yield running.url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    """A client of it."""
    with Client(url) as made:
        yield made


@pytest.fixture
def saying_client(tmp_path: Path) -> Iterator[Ask]:
    """Makes clients of servers that say what a script does."""
    with ExitStack() as stack:

        def make(script: Any, **options: Any) -> Client:
            url, model = stack.enter_context(keeping_script(script, tmp_path, **options))
            client = stack.enter_context(Client(url))
            client.model = model  # type: ignore[attr-defined]
            return client

        yield make
