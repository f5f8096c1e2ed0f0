"""Which language a recording is in: of one window, of several, and window by window."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus import Model
from cactus.errors import UnsupportedModel
from cactus.speech.search import Search, Work
from tests.speech.test_transcribe import PLAIN

UNKNOWN = {name: value for name, value in PLAIN.items() if name != "language"}


@pytest.fixture(scope="module")
def model(speech_folder: Path) -> Any:
    with Model(speech_folder, threads=1) as loaded:
        yield loaded


@pytest.fixture
def german(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How probable German is in the windows to come."""
    chances: list[float] = []

    def detect(self: Search, session: Any) -> Work[dict[str, float]]:
        yield from ()
        de = chances.pop(0)
        return {"en": 1 - de, "de": de}

    monkeypatch.setattr(Search, "detect_language", detect)
    return chances


def test_all_probabilities_are_there(model: Model, sound: np.ndarray) -> None:
    found = model.detect_language(sound, vad=False)
    assert set(found.probabilities) == {"en", "de"}
    assert found.language == next(iter(found.probabilities))
    assert found.probability == max(found.probabilities.values()) >= 0.5
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert model.transcribe(sound, **UNKNOWN).language == found.language


def test_nobody_speaks_no_language(model: Model) -> None:
    found = model.detect_language(np.zeros(16_000, np.float32))
    assert (found.language, found.probability, found.probabilities) == (None, 0.0, {})


@pytest.mark.parametrize(
    ("chances", "threshold", "language", "left"),
    [
        ([0.3, 0.9, 0.2], 0.8, "de", 1),  # the first that is sure
        ([0.6, 0.3, 0.7], 0.9, "de", 0),  # else most of them
        ([0.3, 0.6, 0.2], 0.9, "en", 0),
        ([0.6, 0.3, 0.2], None, "de", 2),
    ],
)
def test_several_windows(
    model: Model,
    sound: np.ndarray,
    german: list[float],
    chances: list[float],
    threshold: float | None,
    language: str,
    left: int,
) -> None:
    options: Any = {"language_detection_segments": 3, "language_detection_threshold": threshold}
    german[:] = chances
    assert model.detect_language(sound, vad=False, **options).language == language
    assert len(german) == left
    german[:] = chances
    found = model.transcribe(sound, **UNKNOWN, **options)
    assert (found.language, found.duration) == (language, 3.0)
    assert found.segments[0].start < 1  # what was read ahead is transcribed, too


def test_every_window_in_its_own_language(
    model: Model, sound: np.ndarray, german: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    german[:] = [0.1, 0.9] * 20
    spoken: list[int] = []
    run = Search.run

    def record(self: Search, session: Any, prompt: list[int], *args: Any, **options: Any) -> Any:
        spoken.append(prompt[prompt.index(self.vocabulary.start) + 1])
        return run(self, session, prompt, *args, **options)

    monkeypatch.setattr(Search, "run", record)
    model.transcribe(sound, **UNKNOWN, multilingual=True)
    assert len(set(spoken)) == 2
    assert all(a != b for a, b in pairwise(spoken))


def test_live_each_window_in_its_own_language(
    model: Model, sound: np.ndarray, german: list[float]
) -> None:
    german[:] = [0.1] * 3 + [0.9] * 200
    found = set()
    with model.transcribe_live(**UNKNOWN, multilingual=True, interval=0.5) as live:
        for i in range(6):
            live.feed(sound[i * 8000 : (i + 1) * 8000])
            found.add(live.language)
        live.finish()
        found.add(live.language)
    assert found >= {"en", "de"}


def test_a_text_model_detects_no_language(tiny_model: Path, sound: np.ndarray) -> None:
    with Model(tiny_model) as text, pytest.raises(UnsupportedModel, match="detect a language"):
        text.detect_language(sound)
