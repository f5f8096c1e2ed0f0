"""Where words lie in time."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cactus import Model, cactus_destroy, cactus_init, cactus_transcribe
from cactus.audio.decode import open_audio
from cactus.errors import ModelFormatError
from cactus.models.whisper import Config
from cactus.speech.alignment import alignment_heads
from cactus.speech.words import (
    Timed,
    attach_marks,
    attention_map,
    begin_after,
    fit,
    has_room,
    make_room,
    set_times,
    shorten_at_marks,
    split_words,
    usual_length,
    warp,
)
from cactus.types import Segment, Word
from tests.models import whisper
from tests.speech.test_transcribe import PLAIN


def cheapest(cost: np.ndarray) -> float:
    """The cost of the best way, by the textbook's recursion."""
    rows, cols = cost.shape
    total = np.full((rows + 1, cols + 1), np.inf)
    total[0, 0] = 0
    for i in range(1, rows + 1):
        for j in range(1, cols + 1):
            before = min(total[i - 1, j - 1], total[i - 1, j], total[i, j - 1])
            total[i, j] = cost[i - 1, j - 1] + before
    return float(total[-1, -1])


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_the_way_is_the_cheapest_and_goes_forward(rows: int, cols: int, seed: int) -> None:
    cost = np.random.default_rng(seed).standard_normal((rows, cols)).astype(np.float32)
    first = warp(cost)
    assert first[0] == 0
    assert all(a <= b for a, b in pairwise(first))
    # A token ends where the next one begins, or just before.
    total = 0.0
    for row, begin, following in zip(cost, first, [*first[1:], cols], strict=True):
        ends = [end for end in (following, following + 1) if begin < end <= cols]
        total += min(float(row[begin:end].sum()) for end in ends)
    assert total == pytest.approx(cheapest(cost), abs=1e-4)


def test_attention_that_moves_on_gives_the_times_of_its_moves() -> None:
    states, tokens = 60, 6
    weights = np.full((2, tokens, states), 0.01, np.float32)
    for token in range(tokens):
        weights[:, token, token * 10 : token * 10 + 10] = 1
    assert warp(-attention_map(weights)).tolist() == pytest.approx([0, 10, 20, 30, 40, 50], abs=2)


@pytest.mark.parametrize("states", [1, 3, 4, 40])
def test_the_map_is_the_median_of_standard_scores(states: int) -> None:
    weights = np.random.default_rng(5).random((3, 8, states)).astype(np.float32)
    scores = (weights - weights.mean(axis=1, keepdims=True)) / weights.std(axis=1, keepdims=True)
    if states > 3:
        padded = np.pad(scores, ((0, 0), (0, 0), (3, 3)), mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 7, axis=2)
        scores = np.median(windows, axis=3)
    np.testing.assert_allclose(attention_map(weights), scores.mean(axis=0), atol=1e-5)


def test_heads_that_agree_on_everything_are_no_division_by_zero() -> None:
    assert (attention_map(np.ones((2, 4, 9), np.float32)) == 0).all()


def texts(words: list[Timed]) -> list[tuple[str, int]]:
    return [(word.text, word.tokens) for word in words]


def test_words_begin_with_a_blank_or_a_mark() -> None:
    words = split_words([" It", " was", "n", "'t", "!", " A", "-", "team"], "en")
    assert texts(words) == [(" It", 1), (" wasn't", 3), ("!", 1), (" A", 1), ("-team", 2)]
    assert texts(attach_marks(words))[1:3] == [(" wasn't!", 4), (" A", 1)]


def test_a_character_of_several_tokens_is_in_one_word() -> None:
    assert texts(split_words([" ", "", "日", "本", "", ""], "ja")) == [
        (" ", 1),
        ("日", 2),
        ("本", 3),
    ]
    assert texts(split_words(["", "é", "t", "", "é"], "fr")) == [("été", 5)]
    assert texts(split_words(["", ""], "en")) == [("", 2)]


def test_marks_join_the_words_that_they_belong_to() -> None:
    def joined(*words: str) -> list[str]:
        return [word.text for word in attach_marks([Timed(word, 1) for word in words])]

    assert joined(' "', "Hello", '."', " (", " ¿", "Qué", "?", ")") == [' "Hello."', " ( ¿Qué?)"]
    assert joined("好", "，", "是", "。") == ["好，", "是。"]
    assert joined(" yes", ' "') == [' yes "']  # nothing follows: it closes
    assert joined(" -", "no") == [" -no"]
    assert joined("?", " who") == ["?", " who"]


@given(st.lists(st.sampled_from(["", " a", "b", ".", ' "', "'s", " ", "?!", "é"])))
def test_no_text_and_no_token_is_lost(parts: list[str]) -> None:
    for language in ("en", "zh"):
        words = attach_marks(split_words(parts, language))
        assert "".join(word.text for word in words) == "".join(parts)
        assert sum(word.tokens for word in words) == len(parts)


def test_a_word_has_the_times_and_the_mean_probability_of_its_tokens() -> None:
    words = [Timed(" a", 2), Timed(" b", 1)]
    set_times(words, np.array([0, 5, 10, 25]), np.array([0.5, 1.0, 0.25], np.float32))
    assert [(w.start, w.end, w.probability) for w in words] == [(0, 0.2, 0.75), (0.2, 0.5, 0.25)]


def timed(*times: tuple[str, float, float]) -> list[Timed]:
    return [Timed(text, 1, start, end) for text, start, end in times]


def test_a_pause_is_no_part_of_a_word() -> None:
    words = timed((" a", 0, 0.3), (" b", 0.3, 0.6), (".", 0.6, 5), (" c", 5, 8), (" d", 8, 8.2))
    assert usual_length(words) == pytest.approx(0.3)
    shorten_at_marks(words, 0.3)
    assert (words[2].start, words[2].end) == (0.6, pytest.approx(1.2))
    assert (words[3].start, words[3].end) == (pytest.approx(7.4), 8)
    assert usual_length(timed((" a", 0, 9))) == 0.7
    assert usual_length(timed((" a", 1, 1))) == 0


def test_where_the_last_word_finds_no_room() -> None:
    assert has_room(timed((" a", 0, 1), (" b", 1, 1.5), (".", 1.5, 1.5)))
    assert not has_room(timed((" a", 0, 1), (" b", 1, 1), (".", 1, 1.5)))
    assert has_room(timed((".", 1, 1)))
    words = timed((" a", 0, 1), (" b", 1, 2), (" c", 2, 3))
    begin_after(words, 1.5)
    assert [(word.start, word.end) for word in words] == [(1.5, 1.5), (1.5, 2), (2, 3)]


def test_a_word_after_a_pause_is_no_longer_than_two() -> None:
    words = timed((" a", 0, 3), (" b", 3, 3.3))
    fit(words, 0.0, 3.3, since=-1.0, usual=0.3)
    assert (words[0].start, words[0].end) == (pytest.approx(2.4), 3)
    words = timed((" a", 0, 0.2), (" b", 0.2, 3))
    fit(words, 0.0, 3.0, since=-9.0, usual=0.3)
    assert [t for w in words for t in (w.start, w.end)] == pytest.approx([1.8, 2.4, 2.4, 3])


def test_the_decoders_own_times_take_a_pause_from_a_word() -> None:
    words = timed((" a", 0, 2), (" b", 2, 4))
    fit(words, 1.5, 2.5, since=0.0, usual=0.6)
    assert (words[0].start, words[1].end) == (pytest.approx(1.4), pytest.approx(2.6))


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.sampled_from([" a", ".", "?"]), st.floats(0, 4)), min_size=1),
    st.tuples(*[st.floats(0, 30)] * 2),
    st.floats(-5, 5),
)
def test_words_stay_in_order_and_gain_no_time(
    lengths: list[tuple[str, float]], segment: tuple[float, float], since: float
) -> None:
    ends = np.cumsum([length for _, length in lengths])
    words = [
        Timed(text, 1, float(end) - length, float(end))
        for (text, length), end in zip(lengths, ends, strict=True)
    ]
    first, last = words[0].start, words[-1].end
    usual = usual_length(words)
    shorten_at_marks(words, usual)
    fit(words, *sorted(segment), since, usual)
    assert first <= words[0].start
    assert words[-1].end <= last
    assert all(word.start <= word.end + 1e-9 for word in words)
    assert all(a.end <= b.start + 1e-9 for a, b in pairwise(words))


CONFIG = whisper.load().architecture.config


def test_heads_come_from_the_model_else_from_its_upper_half() -> None:
    assert isinstance(CONFIG, Config)
    assert alignment_heads({"alignment_heads": [[1, 0]]}, CONFIG) == ((1, 0),)
    assert alignment_heads({}, CONFIG) == ((1, 0), (1, 1))


@pytest.mark.parametrize("heads", [[], "all", [[2, 0]], [[0, 2]], [[0]], [[0, -1]], [[True, 0]]])
def test_heads_that_there_are_not(heads: Any) -> None:
    assert isinstance(CONFIG, Config)
    with pytest.raises(ModelFormatError, match=r"alignment_heads is .* a layer below 2 and a head"):
        alignment_heads({"alignment_heads": heads}, CONFIG)


def check(segments: tuple[Segment, ...]) -> None:
    """Words in order, each inside its segment, with all of its text."""
    times = []
    for segment in segments:
        assert segment.words
        assert "".join(word.word for word in segment.words) == segment.text
        inside = [time for word in segment.words for time in (word.start, word.end)]
        assert (segment.start, segment.end) == (inside[0], inside[-1])
        assert all(0 <= word.probability <= 1 for word in segment.words)
        times += inside
    assert times == sorted(times)


@pytest.mark.parametrize("options", [{}, {"timestamps": False}, {"language": None}])
def test_words_of_the_tiny_model(
    speech_folder: Path, sound: np.ndarray, options: dict[str, Any]
) -> None:
    given = PLAIN | options
    with Model(speech_folder, threads=1) as model:
        plain = model.transcribe(sound, **given).segments
        assert all(segment.words is None for segment in plain)
        want = model.transcribe(sound, **given, word_timestamps=True).segments
    check(want)
    assert [s.tokens for s in want] == [s.tokens for s in plain]
    with Model(speech_folder, threads=2, kv="int8") as other:
        check(other.transcribe(sound, **given, word_timestamps=True).segments)
    with Model(speech_folder, threads=2) as other:
        assert other.transcribe(sound, **given, word_timestamps=True).segments == want


def test_words_of_a_live_transcription(speech_folder: Path, sound: np.ndarray) -> None:
    given = PLAIN | {"word_timestamps": True, "beam_size": 1}
    with Model(speech_folder) as model:
        live = model.transcribe_live(interval=0.2, **given)
        updates = [live.feed(sound[i : i + 4_000]) for i in range(0, len(sound), 4_000)]
        segments = [segment for each in [*updates, live.finish()] for segment in each.segments]
    assert segments
    check(tuple(segments))


def test_the_shortest_sounds_have_words(speech_folder: Path, sound: np.ndarray) -> None:
    with Model(speech_folder) as model:
        for samples in (160, 320, 480, 1000):
            given = PLAIN | {"timestamps": False}
            found = model.transcribe(sound[:samples], **given, word_timestamps=True).segments
            if samples >= 320:
                check(found)


def test_the_json_has_words_when_they_are_asked_for(
    speech_folder: Path, sound: np.ndarray, tmp_path: Path
) -> None:
    import soundfile

    path = tmp_path / "sound.wav"
    soundfile.write(path, sound, 16_000)
    handle = cactus_init(str(speech_folder))
    assert handle is not None
    answer = json.loads(cactus_transcribe(handle, str(path), **PLAIN, word_timestamps=True))
    cactus_destroy(handle)
    for segment in answer["segments"]:
        assert list(segment) == ["start", "end", "text", "words"]
        for word in segment["words"]:
            assert list(word) == ["word", "start", "end", "probability"]
            assert segment["start"] <= word["start"] <= word["end"] <= segment["end"]


# faster-whisper's, with the same weights in f32 and a beam of 5.
LIBRIVOX = {
    "librivox_0870.wav": "0.0 And 0.34 Mr. 0.64 John 0.94 Dashwood 1.5 had 1.76 then 2.02 leisure "
    "2.54 to 2.86 consider 3.36 how 3.74 much 4.24 there 4.5 might 4.7 be 4.92 prudently 5.42 in "
    "5.58 his 5.74 power 5.96 to 6.16 do 6.3 for 6.58 them. 6.78",
    "librivox_0890.wav": "0.0 Unless 0.48 to 0.72 be 0.84 rather 1.16 cold 1.6 -hearted 2.02 and "
    "2.36 rather 2.7 selfish 3.28 is 3.84 to 3.98 be 4.14 ill 4.34 -disposed. 5.02",
}
"""Words and the moments between them."""


def test_real_words_are_where_others_hear_them(voices: Path, whisper_folder: Path) -> None:
    def words_of(sound: np.ndarray) -> list[Word]:
        segments = model.transcribe(
            sound, language="en", beam_size=1, word_timestamps=True
        ).segments
        check(segments)
        return [word for segment in segments for word in segment.words or ()]

    with Model(whisper_folder) as model:
        for name, line in LIBRIVOX.items():
            expected = line.split()
            with open_audio(voices / name) as stream:
                sound = stream.read()
            words = words_of(sound)
            assert [word.word.strip() for word in words] == expected[1::2]
            bounds = [float(time) for time in expected[::2]]
            for word, want in zip(words, pairwise(bounds), strict=True):
                assert (word.start, word.end) == pytest.approx(want, abs=0.3), word
        later = words_of(np.concatenate([np.zeros(3 * 16_000, np.float32), sound]))
        # To which of two words a pause between them goes may change with what is around.
        early = [word.start for word in words]
        assert [word.start - 3 for word in later] == pytest.approx(early, abs=0.5)


@pytest.mark.parametrize(
    ("given", "since", "want"),
    [
        ([(0, 1), (1, 2)], 0, [(0, 1), (1, 2)]),
        ([(0, 1), (1, 1), (1, 2)], 0, [(0, 1), (1, 1.02), (1.02, 2)]),
        ([(3, 3), (3, 3)], 0, [(2.96, 2.98), (2.98, 3)]),
        ([(1, 1), (1, 2)], 1, [(1, 1.02), (1.02, 2)]),
    ],
)
def test_every_word_has_a_time_of_its_own(given: Any, since: float, want: Any) -> None:
    words = timed(*((" word", *each) for each in given))
    assert make_room(words, since, 3.0)
    assert [(word.start, word.end) for word in words] == [pytest.approx(each) for each in want]


def test_words_without_room_are_not_there() -> None:
    assert not make_room(timed((" a", 2.99, 2.99), (" b", 2.99, 2.99)), 2.97, 3.0)
