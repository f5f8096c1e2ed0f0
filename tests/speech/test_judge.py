"""When an answer looks wrong, says nothing or says the same again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.audio.decode import open_audio
from cactus.engine.loading import load
from cactus.speech import judge
from cactus.speech.engine import SpeechEngine
from cactus.speech.judge import (
    Judge,
    before_repetition,
    said_letters,
    until_repeated,
    without_echoes,
)
from cactus.speech.options import parse
from cactus.speech.pieces import Piece
from cactus.speech.search import Answer, Search, Work
from cactus.speech.transcribe import Transcriber

ODD = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)


@pytest.fixture(scope="module")
def engine(speech_folder: Path) -> Any:
    loaded = SpeechEngine.of(load(speech_folder, threads=1))
    yield loaded
    loaded.loaded.close()


def answer(text: str, engine: Any, *, average: float = -0.3, no_speech: float = 0.0) -> Answer:
    tokens = [*engine.tokenizer.encode(text)]
    return Answer(tokens, average * (len(tokens) + 1), no_speech, 0.0)


@pytest.mark.fault("F46")
def test_where_the_model_and_the_detector_hear_nobody_nothing_is_said(engine: Any) -> None:
    known = Judge(engine, parse({}))
    likely = answer("Thank you.", engine, average=-0.9, no_speech=0.8)
    assert known.is_silence(likely, 0.1 * ODD)
    assert not known.is_silence(answer("Thank you.", engine, no_speech=0.5), 0.1 * ODD)
    garbled = answer("V weiter teens", engine, average=-1.6, no_speech=0.5)
    assert known.is_silence(garbled, 0.1 * ODD)
    sure = answer("V weiter teens", engine, average=-1.6, no_speech=0.2)
    assert not known.is_silence(sure, 0.1 * ODD)
    without = Judge(engine, parse({"no_speech_threshold": None}))
    assert not without.is_silence(likely, ODD)
    assert not without.is_silence(garbled, ODD)


def test_where_the_detector_hears_somebody_a_likely_text_counts(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "speaks", lambda samples, seconds=0.0: seconds == 0)
    known = Judge(engine, parse({}))
    assert not known.is_silence(answer("Yes.", engine, average=-0.9, no_speech=0.8), ODD)
    assert known.is_silence(answer("Yes.", engine, average=-1.1, no_speech=0.8), ODD)
    assert not known.is_silence(answer("Yes.", engine, average=-1.6, no_speech=0.5), ODD)
    # but not to what has been transcribed once
    assert not known.counts_again(answer("Yes.", engine, average=-0.9, no_speech=0.8), ODD)
    assert known.counts_again(answer("Yes.", engine, average=-0.9, no_speech=0.5), ODD)


@pytest.mark.fault("F46")
def test_a_loop_ends_before_its_first_repetition(engine: Any) -> None:
    known = Judge(engine, parse({}))
    assert known.is_loop(answer(" I do not hear that." * 10, engine))
    assert not known.is_loop(answer(" I do not hear that." * 2, engine))
    texts = [" Well.", " I do not hear that.", " I do not hear that!", " I do not hear that."]
    pieces = [Piece(i, i + 1, [i]) for i in range(4)]
    assert until_repeated(pieces, texts) == pieces[:2]
    assert said_letters(" I, too!") == "itoo"


def test_a_loop_inside_a_segment_ends_before_its_first_repetition() -> None:
    assert before_repetition(["to", "go", "on", "press", "6", "press", "6", "press", "6"]) == 5
    assert before_repetition(["no", "no", "no"]) == 1
    assert (
        before_repetition(["press", "6", "press", "6", "and", "then", "press", "6"]) is None
    )  # people do that
    assert before_repetition([]) is None


def test_what_is_said_again_where_nobody_speaks_is_left_out(voices: Path) -> None:
    with open_audio(voices / "librivox_0870.wav") as stream:
        speech = stream.read()[: 5 * 16_000]
    noise = 0.02 * np.random.default_rng(1).standard_normal(5 * 16_000).astype(np.float32)
    samples = np.concatenate([speech, noise, speech])
    pieces = [Piece(0, 5, [0]), Piece(5, 10, [1]), Piece(10, 15, [2])]
    text = " He was not an ill-disposed young man."
    assert without_echoes(pieces, [text] * 3, [], samples) == [pieces[0], pieces[2]]
    assert without_echoes(pieces[1:2], [text], [said_letters(text)], samples) == []
    assert without_echoes(pieces[1:2], [text], [], samples) == pieces[1:2]
    assert without_echoes(pieces, [text, " Well.", text], [], samples) == pieces
    assert without_echoes(pieces, [" Yes."] * 3, [], samples) == pieces


def test_where_every_temperature_looks_wrong_the_last_one_counts(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that what was said before is not what the next window goes on from."""
    averages = {0.0: -2.0, 0.4: -3.0, 0.8: -4.0}

    def run(self: Search, *_: Any, temperature: float, **__: Any) -> Work[Answer]:
        yield from ()
        return Answer([70], 2 * averages[temperature], 0.0, temperature)

    monkeypatch.setattr(Search, "run", run)
    monkeypatch.setattr(judge, "speaks", lambda samples, seconds=0.0: True)
    options = {"language": "en", "temperature": [*averages], "vad": False}
    transcriber = Transcriber(engine, parse(options))
    with engine.decoder.session() as session:
        found = transcriber.alone(transcriber.answer(session, ODD))
        assert (found.average, found.temperature) == (-2.0, 0.8)
        assert transcriber.take(found, 0.0, ODD, session)[0]
        assert transcriber._past.since == len(transcriber._past.tokens) > 0


def test_what_looks_wrong_at_every_temperature_counts_where_somebody_speaks(
    engine: Any, voices: Path
) -> None:
    """In noise a model drew "Well!" with eighteen times, and a sentence of other languages."""
    with open_audio(voices / "librivox_0870.wav") as stream:
        speech = stream.read()[: 4 * 16_000]
    noise = 0.02 * np.random.default_rng(1).standard_normal(4 * 16_000).astype(np.float32)
    samples = np.concatenate([noise, speech])
    time, text = engine.vocabulary.first_time, engine.tokenizer.encode("abc")
    tokens = [time, *text, time + 50, time + 50, *text, time + 200, time + 200, *text, time + 390]

    def segments(average: float, **options: Any) -> tuple[list[float], int]:
        transcriber = Transcriber(engine, parse({"language": "en", "vad": False} | options))
        said = Answer(tokens, average * (len(tokens) + 1), 0.1, 1.0)
        with engine.decoder.session() as session:
            found, advance = transcriber.take(said, 0.0, samples, session)
        return [each.start for each in found], advance

    assert segments(-0.9) == ([0.0, 1.0, 4.0], 800)
    assert segments(-1.1) == ([4.0], 800)
    assert segments(-1.1, log_prob_threshold=None) == ([0.0, 1.0, 4.0], 800)


@pytest.mark.parametrize(
    ("before", "now", "written"), [(1.0, 1.0, 2), (1.0, 0.0, 1), (0.0, 1.0, 1)]
)
def test_what_is_said_again_in_what_was_left_out_is_written_again(
    engine: Any, monkeypatch: pytest.MonkeyPatch, before: float, now: float, written: int
) -> None:
    """Where it was heard both times: a time may be wrong by as much as a short sentence takes."""
    monkeypatch.setattr(judge, "speaks", lambda samples, seconds=0.0: samples.max() > 0.5)
    transcriber = Transcriber(engine, parse({"language": "en", "vad": False}))
    half = lambda *args: (args[1], 50)  # noqa: E731
    monkeypatch.setattr(transcriber, "_complete", half)
    time = engine.vocabulary.first_time
    said = Answer([time, *engine.tokenizer.encode("abc"), time + 20], -1.0, 0.0, 0.0)
    with engine.decoder.session() as session:
        found = [
            segment.text
            for begin, loudness in ((0.0, before), (0.5, now))
            for segment in transcriber.take(said, begin, loudness + 0 * ODD, session)[0]
        ]
    assert found == ["abc"] * written


def test_what_is_transcribed_again_repeats_nothing(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    transcriber = Transcriber(engine, parse({"language": "en", "vad": False}))
    time = engine.vocabulary.first_time
    text = engine.tokenizer.encode("abc")
    with engine.decoder.session() as session:
        said = Answer([time, *text, time + 20], -1.0, 0.0, 0.0)
        (segment,), _ = transcriber.take(said, 0.0, ODD, session)
        assert segment.text == "abc"
        transcriber._passed = 150  # of which the last half second is transcribed again
        assert transcriber.take(said, 1.0, ODD, session) == ([], 50)
        other = Answer([time, *engine.tokenizer.encode("def"), time + 20], -1.0, 0.0, 0.0)
        assert [s.text for s in transcriber.take(other, 1.0, ODD, session)[0]] == ["def"]
        monkeypatch.setattr(judge, "speaks", lambda samples, seconds=0.0: seconds == 0)
        unsure = Answer(other.tokens, -1.0, 0.7, 0.0)
        assert transcriber.take(unsure, 1.0, ODD, session) == ([], 50)
        assert len(transcriber.take(unsure, 2.0, ODD, session)[0]) == 1


def test_what_is_likely_and_heard_long_enough_counts_again(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the no-speech probability: a quiet sentence at the end was lost by it."""
    known = Judge(engine, parse({}))
    monkeypatch.setattr(judge, "speaks", lambda samples, seconds=0.0: seconds <= 1.0)
    text = "a" * 25
    assert known.counts_again(answer(text, engine, average=-0.9, no_speech=0.9), ODD)
    assert not known.counts_again(answer(text, engine, average=-1.1, no_speech=0.9), ODD)
    assert not known.counts_again(answer(text + "a", engine, average=-0.9, no_speech=0.9), ODD)
