"""The async forms of a transcription."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cactus import Model
from cactus.errors import InvalidRequest


@pytest.fixture
def model(speech_folder: Path) -> Iterator[Model]:
    with Model(speech_folder) as model:
        yield model


@pytest.fixture
def path(sound: np.ndarray, tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "a.wav", sound, 16_000)
    return tmp_path / "a.wav"


def test_atranscribe_is_transcribe(model: Model, path: Path) -> None:
    expected = model.transcribe(path, vad=False)
    found = asyncio.run(model.atranscribe(path, vad=False))
    assert found.segments == expected.segments and found.text == expected.text
    with pytest.raises(InvalidRequest, match="beam_size"):
        asyncio.run(model.atranscribe(path, beam_size=0))


def test_atranscribe_stream_is_transcribe_stream(model: Model, path: Path) -> None:
    expected = model.transcribe(path, vad=False)

    async def work() -> None:
        async with model.atranscribe_stream(path, vad=False) as stream:
            assert stream.transcription is None
            segments = [segment async for segment in stream]
        assert tuple(segments) == expected.segments
        assert stream.transcription is not None and stream.transcription.text == expected.text

    asyncio.run(work())


def test_a_file_that_nobody_reads_is_closed(model: Model, path: Path) -> None:
    async def work() -> None:
        async with model.atranscribe_stream(path):
            pass
        gc.collect()  # a file that is left open is a ResourceWarning, which is an error here

    asyncio.run(work())
