"""A command line in this process; a speech model that is sure of what a command writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cactus.cli.main import run_cli


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line in this process: status, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        status = run_cli([str(each) for each in arguments])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


@pytest.fixture(scope="session")
def speech_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny speech model, with logits that are far apart."""
    from tests.speech_model import write_speech_folder

    return write_speech_folder(tmp_path_factory.mktemp("speech"), sureness=16)
