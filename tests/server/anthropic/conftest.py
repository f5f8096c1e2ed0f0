"""Anthropic's own client against servers of models that are in memory already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic

from cactus.model import Model
from tests.generate.scripted import scripted_engine
from tests.server.openai.conftest import InMemory, listening

Ask = Callable[..., Anthropic]


@pytest.fixture(scope="module")
def tiny(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """The model behind `client`."""
    with Model(tiny_model) as model:
        yield model


@pytest.fixture(scope="module")
def url(tiny: Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of `tiny`."""
    with listening(InMemory(tmp_path_factory.mktemp("served"), {"tiny": tiny})) as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Anthropic]:
    """A client of the server of `tiny`, which refuses replies that are not as they should be."""
    with made(url) as client:
        yield client


@pytest.fixture
def saying_client(tmp_path: Path) -> Iterator[Ask]:
    """Makes clients of servers that say what a script does."""
    with ExitStack() as stack:

        def make(script: Any, **options: Any) -> Anthropic:
            options = {"context": 4000, "chunk": 512, **options}
            model = stack.enter_context(Model.from_engine(scripted_engine(script, **options)))
            address = stack.enter_context(listening(InMemory(tmp_path, {"scripted": model})))
            client = stack.enter_context(made(address))
            client.model = model  # type: ignore[attr-defined]
            return client

        yield make


def made(url: str) -> Anthropic:
    return Anthropic(base_url=url, api_key="none", max_retries=0, _strict_response_validation=True)
