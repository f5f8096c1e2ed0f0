"""Where words lie in time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cactus.speech.words import (
    Timed,
    attach_punctuation,
    attention_map,
    limit_durations,
    split_words,
    warp,
)


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


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_the_way_is_the_cheapest_and_goes_forward(rows: int, cols: int, seed: int) -> None:
    cost = np.random.default_rng(seed).standard_normal((rows, cols)).astype(np.float32)
    tokens, states = warp(cost)
    assert (tokens[0], states[0], tokens[-1], states[-1]) == (0, 0, rows - 1, cols - 1)
    steps = np.diff(np.stack([tokens, states], axis=1), axis=0)
    assert steps.min(initial=0) >= 0
    assert steps.max(initial=1) <= 1
    assert (steps.sum(axis=1) > 0).all()
    assert cost[tokens, states].sum() == pytest.approx(cheapest(cost), abs=1e-4)


def test_attention_that_moves_on_gives_the_times_of_its_moves() -> None:
    states, tokens = 60, 6
    weights = np.full((2, tokens, states), 0.01, np.float32)
    for token in range(tokens):
        weights[:, token, token * 10 : token * 10 + 10] = 1
    path = warp(-attention_map(weights))
    begins = [int(path[1][path[0] == token].min()) for token in range(tokens)]
    assert begins == pytest.approx([0, 10, 20, 30, 40, 50], abs=2)


def test_words_begin_with_a_blank_or_a_mark() -> None:
    words = split_words([1, 2, 3, 4, 5], [" It", " was", "n", "'t", "!"], "en")
    assert [(word.text, word.tokens) for word in words] == [
        (" It", [1]),
        (" wasn't", [2, 3, 4]),
        ("!", [5]),
    ]
    assert [word.text for word in attach_punctuation(words)] == [" It", " wasn't!"]


def test_a_character_of_several_tokens_is_in_one_word() -> None:
    words = split_words([1, 2, 3], [" ", "", "日本"], "ja")
    assert [(word.text, word.tokens) for word in words] == [(" ", [1]), ("日本", [2, 3])]
    assert split_words([7, 8], ["a", ""], "en")[0].tokens == [7, 8]


def test_opening_marks_join_what_follows() -> None:
    words = [Timed(' "', [1]), Timed("Hello", [2]), Timed('."', [3])]
    assert [word.text for word in attach_punctuation(words)] == [' "Hello."']


def test_a_pause_is_no_part_of_a_word() -> None:
    words = [Timed(" a", [1], 0, 0.3), Timed(" b.", [2], 0.3, 9), Timed(" c", [3], 9, 9.3)]
    limit_durations(words)
    assert words[1].end == pytest.approx(0.9)
    assert (words[0].end, words[2].start) == (0.3, 9)
