"""Models that are small and random, one for each tool, and files for them."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cactus.weights.convert import convert
from tests.models import encoders


@dataclass
class World:
    """Folders of models by what they do, a folder of files, and one of documents."""

    models: dict[str, Path]
    files: Path
    docs: Path

    @property
    def names(self) -> list[str]:
        """The models as a command takes them; the encoders first, which are better at vectors."""
        return [str(self.models[name]) for name in ("bert", "bert_ranker", "chat", "see", "speech")]


@pytest.fixture(scope="session")
def world(
    tiny_model: Path,
    tiny_vlm: Path,
    speech_folder: Path,
    sound: np.ndarray,
    tmp_path_factory: pytest.TempPathFactory,
) -> World:
    home = tmp_path_factory.mktemp("mcp")
    models = {"chat": tiny_model, "see": tiny_vlm, "speech": speech_folder}
    for name in ("bert", "bert_ranker"):
        checkpoint = encoders.write(name, home / "checkpoints" / name)
        convert(checkpoint, home / "models" / name, "FP32")
        models[name] = home / "models" / name
    files, docs = home / "files", home / "docs"
    files.mkdir()
    docs.mkdir()
    (docs / "plants.md").write_text("# Plants\n\nA cactus stores water in its stem.\n")
    (docs / "stars.md").write_text("# Stars\n\nThe sun is a star, far away from here.\n")
    Image.new("RGB", (40, 30), "green").save(files / "green.png")
    with wave.open(str(files / "sound.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes((sound * 32767).astype("<i2").tobytes())
    (home / "secret.png").write_bytes((files / "green.png").read_bytes())
    (files / "link.png").symlink_to(home / "secret.png")
    return World(models, files, docs)


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> Iterator[str]:
    """Both revisions of the protocol."""
    yield request.param


def text_of(result: Any) -> str:
    """The text of a result."""
    return "\n".join(block.text for block in result.content)
