"""Servers of models that are in memory already, and OpenAI's own client in its strictest mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import OpenAI

from cactus.model import Model
from cactus.server.models import Served, ServedModel
from cactus.server.service import Service
from tests.generate.scripted import scripted_engine
from tests.server.openai.spec import Checking
from tests.server.running import serving

Serve = Callable[..., str]


def add(service: Service, name: str, model: ServedModel, folder: Path) -> None:
    """Serve a model that is in memory already; the server closes it."""
    kinds = ("transcribe",) if "transcribe" in model._engine.abilities else ("chat", "complete")
    service._served[name] = served = Served(name, folder, kinds, model)
    service.models.know(served)


@contextmanager
def keeping(
    name: str, model: ServedModel, folder: Path, **settings: Any
) -> Iterator[tuple[str, ServedModel]]:
    """A server of a model that is in memory already: its address, and the model."""
    with serving(**settings) as running:
        add(running.service, name, model, folder)
        yield running.url, model


@contextmanager
def keeping_script(
    script: Any, folder: Path, settings: Mapping[str, Any] | None = None, **options: Any
) -> Iterator[tuple[str, ServedModel]]:
    """A server of "scripted", which says what a script does: its address, and the model."""
    engine = scripted_engine(script, **{"context": 4000, "chunk": 512, **options})
    with keeping("scripted", ServedModel.from_engine(engine), folder, **(settings or {})) as found:
        yield found


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serves models by name, or one that says what a script does; the address of the server."""
    with ExitStack() as stack:

        def start(
            script: Any = None,
            *,
            models: dict[str, ServedModel] | None = None,
            tools: Any = (),
            documents: Any = None,
            **options: Any,
        ) -> str:
            if models is None:
                models = {"scripted": ServedModel.from_engine(scripted_engine(script, **options))}
            running = stack.enter_context(serving(tools=tools))
            running.service.documents = documents
            for name, model in models.items():
                add(running.service, name, model, tmp_path)
            return running.url

        yield start


@pytest.fixture(scope="session")
def tiny_server(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Model]]:
    """A server of `tiny_model`: its address, and the model."""
    with keeping("tiny", ServedModel(tiny_model), tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture(scope="session")
def starter_server(
    starter_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Model]]:
    """A server of the starter model: its address, and the model."""
    model = ServedModel(starter_folder)
    with keeping(model.name, model, tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture
def strict() -> Iterator[Callable[[str], OpenAI]]:
    """Makes clients of a server that check every reply against OpenAI's document, and strictly."""
    with ExitStack() as stack:

        def make(url: str) -> OpenAI:
            http = stack.enter_context(httpx2.Client(transport=Checking(), timeout=60))
            return stack.enter_context(
                OpenAI(
                    base_url=f"{url}/v1",
                    api_key="none",
                    max_retries=0,
                    http_client=http,
                    _strict_response_validation=True,
                )
            )

        yield make


@pytest.fixture
def tiny(tiny_server: tuple[str, Model], strict: Callable[[str], OpenAI]) -> OpenAI:
    """A client of the server of `tiny_model`."""
    return strict(tiny_server[0])


@pytest.fixture
def starter(starter_server: tuple[str, Model], strict: Callable[[str], OpenAI]) -> OpenAI:
    """A client of the server of the starter model."""
    return strict(starter_server[0])
