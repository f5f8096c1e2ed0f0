"""A hub with one small model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import HubServer


@pytest.fixture(scope="session")
def starter_reader(starter_gguf: Path) -> Any:
    """The starter's file as the package `gguf` reads it, which takes seconds."""
    import gguf

    return gguf.GGUFReader(starter_gguf)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def files(tiny_checkpoint: Path) -> dict[str, bytes]:
    own = {path.name: path.read_bytes() for path in sorted(tiny_checkpoint.iterdir())}
    return own | {"pytorch_model.bin": b"a pickle", "README.md": b"words"}


@pytest.fixture
def server(hub_server: HubServer, root: Path, files, monkeypatch) -> HubServer:
    hub_server.add("acme/Tiny-Llama", files)
    monkeypatch.setattr("time.sleep", lambda _: None)
    return hub_server
