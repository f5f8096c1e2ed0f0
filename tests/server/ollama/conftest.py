"""Ollama's own client against servers of models that are in memory already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ollama import Client

from cactus.model import Model
from cactus.server.models import ServedModel
from tests.generate.scripted import scripted_engine
from tests.server.openai.conftest import add
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
            options = {"context": 4000, "chunk": 512, **options}
            model = ServedModel.from_engine(scripted_engine(script, **options))
            running = stack.enter_context(serving())
            add(running.service, "scripted", model, tmp_path)
            client = stack.enter_context(Client(running.url))
            client.model = model  # type: ignore[attr-defined]
            return client

        yield make
