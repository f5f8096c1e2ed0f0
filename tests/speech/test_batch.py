"""Passages of a recording as rows of the same steps: what comes is what each is alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cactus import Model
from cactus.audio.decode import F32
from cactus.errors import InvalidRequest
from cactus.speech import batch, judge
from cactus.speech.batch import Passage, passages, together
from cactus.speech.search import Fed, Work
from tests.speech.test_transcribe import PLAIN

SECOND = 16_000
# All that is not silent is speech; whatever the tiny model's window of a second does not hold is
# cut.
SPEECH = {"threshold": 0.0, "min_silence_duration_ms": 160, "speech_pad_ms": 30}
OPTIONS: dict[str, Any] = PLAIN | {"vad": True, "vad_parameters": SPEECH}


@pytest.fixture(scope="module")
def model(speech_folder: Path) -> Iterator[Model]:
    with Model(speech_folder, threads=2) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def recording(sound: F32) -> F32:
    return np.concatenate([sound, 0.5 * sound[::-1], sound[SECOND:]])


def cut(samples: F32, **options: Any) -> list[Passage]:
    blocks = iter(np.array_split(samples, 11))
    return list(passages(blocks, batch.VadOptions(**(SPEECH | options)), SECOND))


def text_of(segments: Any) -> list[tuple[Any, ...]]:
    return [(s.tokens, s.avg_logprob, s.no_speech_prob, s.temperature, s.words) for s in segments]


@pytest.mark.parametrize(
    "options",
    [
        {"beam_size": 1},
        {"beam_size": 3, "patience": 2.0},
        {"temperature": 1.0, "best_of": 3, "seed": 5},
        # Every temperature looks wrong to one, and is tried.
        {"temperature": (0.0, 0.5), "log_prob_threshold": 0.0, "beam_size": 2, "best_of": 2},
        {"language": None, "multilingual": True, "beam_size": 1},
        {"beam_size": 2, "timestamps": False, "initial_prompt": "Well", "hotwords": "then"},
    ],
    ids=lambda options: "-".join(options),
)
def test_a_passage_is_what_it_is_alone(
    model: Model, recording: F32, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What looks wrong counts only where somebody speaks.
    monkeypatch.setattr(judge, "speaks", lambda samples, seconds=0.0: True)
    whole = cut(recording)
    assert len(whole) > 8
    alone, tokens = [], 0
    for passage in whole:
        given = PLAIN | {"condition_on_previous_text": False} | options
        found = model.transcribe(passage.samples, **given)
        alone += found.segments
        tokens += found.metrics.decode_tokens
    results = [
        model.transcribe(recording, **(OPTIONS | options), batch_size=count) for count in (2, 5, 64)
    ]
    assert text_of(results[0].segments) == text_of(alone) and len(alone) >= 8
    assert results[0].segments == results[1].segments == results[2].segments
    assert [segment.id for segment in results[0].segments] == list(range(len(alone)))
    assert results[0].confidence == pytest.approx(results[1].confidence)
    assert results[0].language == results[1].language is not None
    assert {result.metrics.decode_tokens for result in results} == {tokens}


def test_times_are_those_of_the_recording(model: Model, sound: F32) -> None:
    silence = np.zeros(3 * SECOND, np.float32)
    recording = np.concatenate([silence, sound[: SECOND // 2], silence, sound[: SECOND // 2]])
    spoken = [(3.0, 3.5), (6.5, 7.0)]

    def speech(blocks: Iterator[F32], options: Any) -> Iterator[tuple[int, F32]]:
        assert options.max_speech_duration_s == 0.5
        assert sum(map(len, blocks)) == len(recording)
        for begin, end in spoken:
            place = round(begin * SECOND)
            yield place, recording[place : round(end * SECOND)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "only_speech", speech)
        patch.setattr(batch, "passages", lambda *args: passages(*args[:2], SECOND // 2))
        options = OPTIONS | {"word_timestamps": True, "batch_size": 4, "beam_size": 1}
        with model.transcribe_stream(recording, **options) as stream:
            found = [(segment, stream.seconds) for segment in stream]
    first = [segment for segment, _ in found if segment.end <= 3.5]
    assert text_of(first)[0][0] == text_of(s for s, _ in found if s.start >= 6.5)[0][0]
    for segment, seconds in found:
        begin, end = spoken[segment.start > 5]
        assert begin <= segment.start < segment.end <= end + 0.02
        assert seconds == pytest.approx(end)
        for word in segment.words or ():
            assert begin <= word.start < word.end <= end + 0.02


def test_a_passage_ends_where_the_next_stretch_of_speech_does_not_fit(sound: F32) -> None:
    whole = cut(sound)
    assert [len(each.samples) <= SECOND for each in whole] == [True] * len(whole)
    assert np.array_equal(np.concatenate([each.samples for each in whole]), sound)
    begins = np.cumsum([0, *(len(each.samples) for each in whole)])
    for passage, begin in zip(whole, begins, strict=False):
        assert passage.timeline.original(0.1) == pytest.approx(begin / SECOND + 0.1)
    short = cut(sound, max_speech_duration_s=0.5)
    assert all(len(each.samples) <= SECOND for each in short)
    assert list(passages(iter([np.zeros(5 * SECOND, np.float32)]), None, SECOND)) == []


def test_the_first_passage_alone_begins_with_the_prefix(model: Model, sound: F32) -> None:
    found = model.transcribe(sound, **OPTIONS, prefix="Well then", batch_size=3, beam_size=1)
    assert found.text.startswith("Well then") and found.text.count("Well then") == 1


def test_the_language_is_that_of_the_first_passages(model: Model, recording: F32) -> None:
    options = OPTIONS | {"language": None, "beam_size": 1, "language_detection_threshold": 1.0}
    first, *others = cut(recording)
    several = {"language_detection_segments": 3}
    for given, samples in (
        ({}, first.samples),
        (several, np.concatenate([first.samples, *(each.samples for each in others[:2])])),
    ):
        found = model.transcribe(recording, **(options | given), batch_size=3)
        assert found.language in ("en", "de") and 0 < found.language_probability <= 1
        if not given:
            alone = model.detect_language(samples, vad=False)
            assert (found.language, found.language_probability) == (
                alone.language,
                alone.probability,
            )


def test_stop_keeps_what_there_is(model: Model, recording: F32) -> None:
    options = OPTIONS | {"batch_size": 3, "beam_size": 2}
    whole = model.transcribe(recording, **options).segments
    with model.transcribe_stream(recording, **options) as stream:
        first = next(stream)
        model.transcribe(recording[:SECOND], **options)  # others go on in between
        model.stop()
        rest = list(stream)
    result = stream.transcription
    assert result is not None and result.finish_reason == "cancelled"
    assert result.segments == (first, *rest) == whole[: len(result.segments)]
    assert len(result.segments) < len(whole)
    # And it can be left in the middle.
    with model.transcribe_stream(recording, **options) as stream:
        assert next(stream) == whole[0]
    assert model.transcribe(recording, **options).segments == whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vad": False}, "vad is False"),
        ({"clip_timestamps": [1, 2]}, "clip_timestamps are given"),
        ({"batch_size": 0}, "from 1"),
        ({"batch_size": 65}, "to 64"),
    ],
)
def test_what_cannot_be_cut_is_refused(
    model: Model, sound: F32, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        model.transcribe(sound, **({"batch_size": 4, "language": "en"} | options))


def test_what_is_said_now_has_no_batch(model: Model) -> None:
    with pytest.raises(InvalidRequest, match="batch_size is for recordings"):
        model.transcribe_live(batch_size=2)


class Steps:
    """A search whose logits are the tokens that were fed."""

    program = SimpleNamespace(chunk=6)

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def step(self, fed: Fed) -> list[Any]:
        self.sizes.append(sum(len(tokens) for _, tokens in fed))
        return [tokens[-1] for _, tokens in fed]


def counting(name: int, turns: int, rows: int, ended: list[int]) -> Work[int]:
    session: Any = None
    try:
        for turn in range(turns):
            got: Any = yield [(session, [100 * name + 10 * turn + row]) for row in range(rows)]
            assert got == [100 * name + 10 * turn + row for row in range(rows)]
        return name
    finally:
        ended.append(name)


def test_work_shares_steps_and_comes_in_order() -> None:
    steps: Any = Steps()
    ended: list[int] = []
    # Number 2 has nothing to feed; 0 ends last of the first three.
    turns = [5, 1, 0, 2, 3]
    works = (counting(n, count, 2, ended) for n, count in enumerate(turns))
    results = [each for each in together(steps, works, 3) if each is not None]
    assert results == [0, 1, 2, 3, 4]
    assert ended == [2, 1, 3, 0, 4] or sorted(ended) == results
    assert sum(steps.sizes) == 2 * sum(turns) and len(steps.sizes) <= 5
    assert max(steps.sizes) == 6  # three of two rows, which is as much as a step takes


def test_more_than_a_step_takes_becomes_several() -> None:
    steps: Any = Steps()
    works = (counting(n, 2, 4, []) for n in range(3))
    assert [each for each in together(steps, works, 3) if each is not None] == [0, 1, 2]
    assert steps.sizes == [4] * 6


def test_work_that_is_left_is_ended() -> None:
    steps: Any = Steps()
    ended: list[int] = []
    going = together(steps, (counting(n, 5, 1, ended) for n in range(9)), 3)
    while len(steps.sizes) < 2:
        assert next(going) is None
    going.close()
    assert ended == [0, 1, 2]
