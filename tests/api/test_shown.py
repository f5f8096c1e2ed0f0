"""How objects show themselves, and that those of one process are not copied."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cactus import CactusModel, Model
from cactus.types import Completion, Metrics, Segment, Transcription, Word
from tests.generate.scripted import saying

Make = Callable[..., Model]
HELLO = [{"role": "user", "content": "Hello"}]
LONG = "word " * 1000
SEGMENT = Segment(
    id=0,
    start=0.5,
    end=3.21,
    text=" Hello there.",
    tokens=tuple(range(500)),
    temperature=0.0,
    avg_logprob=-0.2,
    compression_ratio=1.1,
    no_speech_prob=0.01,
)


def completion(text: str = "Hi there.", **more: Any) -> Completion:
    given = {"finish_reason": "stop", "confidence": 0.915, "metrics": Metrics(decode_tps=41.7)}
    return Completion(text, tokens=(1,) * 999, logprobs=(-0.1,) * 999, **{**given, **more})


def transcription(text: str = " Hello there.") -> Transcription:
    segment = Segment(0, 0.5, 3.21, text, tuple(range(500)), 0.0, -0.2, 1.1, 0.01)
    return Transcription((segment,) * 2, "en", 0.98, 6.5, "stop", 0.9, (), Metrics())


def test_a_completion_prints_as_its_text() -> None:
    assert f"{completion()}" == str(completion()) == "Hi there."
    assert str(completion("")) == ""


def test_a_completion_shows_itself_in_one_short_line() -> None:
    assert repr(completion()) == (
        "Completion('Hi there.', 'stop', confidence=0.92, 999 tokens, 42 tokens/s)"
    )
    thought = completion(LONG, reasoning=LONG)
    assert len(repr(thought)) < 300 and repr(thought).count("…") == 2
    assert repr(completion("two\nlines")).count("\n") == 0


def test_a_transcription_prints_as_its_text_and_shows_itself_shortly() -> None:
    assert str(transcription()) == "Hello there. Hello there."
    assert repr(transcription()) == (
        "Transcription('Hello there. Hello there.', 'en', 2 segments, 6.50 s)"
    )
    assert len(repr(transcription(LONG))) < 200


def test_a_segment_shows_its_time_and_text() -> None:
    assert repr(SEGMENT) == "Segment(0.50-3.21 s, ' Hello there.')"
    words = (Word(0.5, 1.0, " Hello", 0.9), Word(1.0, 3.2, " there.", 0.9))
    with_words = Segment(0, 0.5, 3.21, LONG, (1,), 0.0, -0.2, 1.1, 0.01, words)
    assert repr(with_words).endswith(", 2 words)") and len(repr(with_words)) < 200


@pytest.mark.parametrize("result", [completion(), transcription(), SEGMENT])
def test_results_can_be_pickled_and_copied(result: Any) -> None:
    assert pickle.loads(pickle.dumps(result)) == copy.deepcopy(result) == result


def test_a_stream_shows_how_far_it_is(scripted_model: Make) -> None:
    with scripted_model(saying("Hi")).stream(HELLO) as stream:
        assert repr(stream) == "<CompletionStream not begun>"
        next(stream)
        assert repr(stream) == "<CompletionStream open: 'H'>"
        list(stream)
        assert repr(stream) == "<CompletionStream ended: 'Hi'>"


def test_an_async_stream_shows_how_far_it_is(scripted_model: Make) -> None:
    async def work() -> None:
        stream = scripted_model(saying("Hi")).astream(HELLO)
        assert repr(stream) == "<AsyncCompletionStream not begun>"
        await anext(stream)
        assert repr(stream) == "<AsyncCompletionStream open: 'H'>"
        await stream.aclose()
        assert repr(stream) == "<AsyncCompletionStream ended: 'H'>"

    asyncio.run(work())


def test_models_show_their_name(tiny_model: Path) -> None:
    with CactusModel(str(tiny_model)) as model:
        assert repr(model).startswith(f"<CactusModel {tiny_model.name} (")
        assert repr(model._model).startswith(f"<Model {tiny_model.name} (")
    assert repr(model).endswith(", closed)>")


@pytest.mark.parametrize("again", [pickle.dumps, copy.copy, copy.deepcopy])
def test_what_belongs_to_a_process_cannot_be_copied(
    again: Callable[[Any], Any], scripted_model: Make, tiny_model: Path
) -> None:
    model = scripted_model(saying("Hi"))
    with CactusModel(str(tiny_model)) as flat, model.stream(HELLO) as stream:
        for thing in (model, flat, stream, model.astream(HELLO)):
            name = type(thing).__name__
            with pytest.raises(TypeError, match=f"^{name} cannot be pickled or copied: it belongs"):
                again(thing)
        assert list(stream) and model.chat(HELLO).text == "Hi"
