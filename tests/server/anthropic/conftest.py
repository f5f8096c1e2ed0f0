"""Anthropic's own client against servers of models that are in memory already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic

from cactus.model import Model
from cactus.server.models import ServedModel
from tests.server.openai.conftest import keeping, keeping_script

Ask = Callable[..., Anthropic]


@pytest.fixture(scope="module")
def served(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Model]]:
    """A server of `tiny_model`: its address, and the very model."""
    with keeping("tiny", ServedModel(tiny_model), tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture(scope="module")
def url(served: tuple[str, Model]) -> str:
    """The address of the server."""
    return served[0]


@pytest.fixture(scope="module")
def tiny(served: tuple[str, Model]) -> Model:
    """The model behind `client`."""
    return served[1]


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Anthropic]:
    """A client of the server of `tiny`, which refuses replies that are not as they should be."""
    with made(url) as client:
        yield client


@pytest.fixture
def saying_client(tmp_path: Path) -> Iterator[Ask]:
    """Makes clients of servers that say what a script does."""
    with ExitStack() as stack:

        def make(
            script: Any, *, settings: dict[str, Any] | None = None, **options: Any
        ) -> Anthropic:
            served = keeping_script(script, tmp_path, settings, **options)
            url, model = stack.enter_context(served)
            client = stack.enter_context(made(url))
            client.model = model  # type: ignore[attr-defined]
            return client

        yield make


def made(url: str) -> Anthropic:
    return Anthropic(base_url=url, api_key="none", max_retries=0, _strict_response_validation=True)
