"""A cloud on this machine, and models that are unsure."""

from __future__ import annotations

import math
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cactus import Cloud
from cactus.model import Model
from tests.cloud_server import KEY, CloudServer, says, serve
from tests.generate.scripted import VOCABULARY

UNSURE = 0.9 * math.log(VOCABULARY)
"""An entropy that means a confidence of 0.1."""


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudServer]:
    with serve(tmp_path_factory.mktemp("cloud")) as server:
        yield server


@pytest.fixture
def server(_server: CloudServer) -> Iterator[CloudServer]:
    """Answers every question, unless it is told otherwise; nobody's thread is left afterwards."""
    _server.behave(says("from the cloud"))
    yield _server
    _server.behave(says("from the cloud"))
    assert [t.name for t in threading.enumerate() if t.name == "cactus-cloud"] == []


@pytest.fixture
def cloud(server: CloudServer) -> Cloud:
    return cloud_of(server)


_contexts: dict[Path, ssl.SSLContext] = {}


def cloud_of(server: CloudServer, **options: Any) -> Cloud:
    """A cloud that trusts the server; the system's authorities, which take long, are read once."""
    cloud = Cloud(
        KEY,
        server.url,
        "large",
        certificates=server.authority,
        **{"connect_timeout": 20, "read_timeout": 20, "total_timeout": 40, **options},
    )
    asker = cloud.asker
    asker._context = _contexts.get(server.authority) or asker.tls_context()
    _contexts[server.authority] = asker._context
    return cloud


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's own settings; a second try comes soon."""
    for name in ("API_KEY", "BASE_URL", "MODEL"):
        monkeypatch.delenv(f"CACTUS_CLOUD_{name}", raising=False)
    monkeypatch.delenv("CACTUS_NO_CLOUD", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("cactus.cloud.store._keyring", lambda: None)
    monkeypatch.setattr("cactus.cloud.connection.BACKOFF", 0.01)


@pytest.fixture
def unsure_model(cloud: Cloud, closed_later: Callable[[Model], Model]) -> Callable[..., Model]:
    """Makes models that are unsure of the token with the number `at`, and have a cloud."""
    from tests.generate.scripted import saying, scripted_engine

    def make(text: str = "said here", at: int = 0, **options: Any) -> Model:
        elsewhere = options.pop("cloud", cloud)
        entropies = [UNSURE if n == at else 0.01 for n in range(at + 1)]
        engine = scripted_engine(saying(text, entropies=entropies), **options)
        return closed_later(Model.from_engine(engine, elsewhere))

    return make
