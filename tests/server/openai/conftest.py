"""Servers of models that are in memory already, and OpenAI's own client in its strictest mode."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from openai import OpenAI

from cactus.model import Model
from cactus.server.app import build
from cactus.server.service import Served, Service
from cactus.server.settings import Settings
from tests.generate.scripted import scripted_engine
from tests.server.openai.spec import Checking

Serve = Callable[..., str]


class InMemory(Service):
    """A service of models that somebody has loaded."""

    def __init__(self, folder: Path, models: dict[str, Model]) -> None:
        super().__init__(Settings(()))
        for name, model in models.items():
            abilities = ("transcribe",) if "Whisper" in name else ("chat", "complete")
            self._served[name] = Served(name, folder, abilities, model)


@contextmanager
def listening(service: Service) -> Iterator[str]:
    """A real server on a port of this machine; its address."""
    config = uvicorn.Config(build(service), host="127.0.0.1", port=0, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Serves models by name, or one that says what a script does; the address of the server."""
    with ExitStack() as stack:

        def start(script: Any = None, *, models: dict[str, Model] | None = None, **o: Any) -> str:
            if models is None:
                models = {"scripted": Model.from_engine(scripted_engine(script, **o))}
            return stack.enter_context(listening(InMemory(tmp_path, models)))

        yield start


@pytest.fixture(scope="session")
def tiny_server(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Model]]:
    """A server of `tiny_model`: its address, and the model."""
    model = Model(tiny_model)
    service = InMemory(tmp_path_factory.mktemp("served"), {"tiny": model})
    with listening(service) as url:
        yield url, model


@pytest.fixture(scope="session")
def starter_server(
    starter_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Model]]:
    """A server of the starter model: its address, and the model."""
    model = Model(starter_folder)
    service = InMemory(tmp_path_factory.mktemp("served"), {model.name: model})
    with listening(service) as url:
        yield url, model


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
