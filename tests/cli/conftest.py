"""A speech model whose answers a command writes, because it is sure of them."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def speech_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny speech model, with logits that are far apart."""
    from tests.speech_model import write_speech_folder

    return write_speech_folder(tmp_path_factory.mktemp("speech"), sureness=16)
