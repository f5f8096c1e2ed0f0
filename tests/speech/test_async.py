"""The async forms of a transcription."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from cactus import Model
from cactus.errors import Cancelled, InvalidRequest, ModelClosed
from cactus.speech.engine import SpeechEngine
from tests.generate.scripted import InThread


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


def test_the_language_and_the_vector_can_be_awaited(model: Model, path: Path) -> None:
    assert asyncio.run(model.adetect_language(path, vad=False)) == model.detect_language(
        path, vad=False
    )
    assert asyncio.run(model.aembed_audio(path)) == model.embed_audio(path)
    with pytest.raises(InvalidRequest, match="language_detection_segments"):
        asyncio.run(model.adetect_language(path, language_detection_segments=0))


def test_a_cancelled_task_ends_the_reading_of_a_long_recording(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, begun = [], threading.Event()
    encode = SpeechEngine.encode

    def counting(*args: Any, **options: Any) -> Any:
        heard.append(1)
        begun.set()
        return encode(*args, **options)

    monkeypatch.setattr(SpeechEngine, "encode", counting)

    async def work() -> None:
        task = asyncio.create_task(model.aembed_audio(np.ones(3_600 * 16_000, np.float32)))
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert 0 < len(heard) < 120
    assert model.embed_audio(np.ones(16_000, np.float32)), "and the model is free for others"


def test_calls_on_recordings_take_turns_by_their_windows(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short call does not wait for the end of a long one; a window of this model is a second."""
    encode, begun, go = SpeechEngine.encode, threading.Event(), threading.Event()
    windows = []

    def slow(engine: Any, session: Any, samples: Any, **options: Any) -> Any:
        windows.append(len(samples))
        if len(windows) == 1:
            begun.set()
            assert go.wait(30)
        return encode(engine, session, samples, **options)

    monkeypatch.setattr(SpeechEngine, "encode", slow)
    long = InThread(lambda: model.embed_audio(np.ones(20 * 16_000, np.float32)))
    assert begun.wait(30)
    short = InThread(lambda: model.embed_audio(np.ones(8_000, np.float32)))
    while not model._turns._queue:
        pass
    go.set()
    assert short.result() and long.result()
    assert windows.index(8_000) == 1, "after the window that was running"


def test_a_long_call_with_a_model_that_goes(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, encode = threading.Event(), SpeechEngine.encode

    def heard(*args: Any, **options: Any) -> Any:
        begun.set()
        return encode(*args, **options)

    monkeypatch.setattr(SpeechEngine, "encode", heard)

    async def work() -> None:
        async with model:
            task = asyncio.create_task(model.aembed_audio(np.ones(3_600 * 16_000, np.float32)))
            await asyncio.to_thread(begun.wait, 30)
        with pytest.raises(Cancelled):
            await task

    asyncio.run(work())
    with pytest.raises(ModelClosed):
        asyncio.run(model.aembed_audio(np.ones(16_000, np.float32)))


def test_a_recording_in_which_nothing_is_said_lets_others_go_on(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, entered = model._turns, []
    enter = turns.enter
    monkeypatch.setattr(turns, "enter", lambda call: entered.append(call) or enter(call))
    silence = np.zeros(5 * 16_000, np.float32)
    assert model.transcribe(silence, vad=False, language="en").segments == ()
    assert len(entered) >= 5, "one advance for each window, which is a second of this model"
