from __future__ import annotations

import math
import random

import pytest

from cactus.confidence.entropy import WINDOW, Confidence, lowest

UNSURE = math.log(1000)  # the entropy of a uniform distribution over 1,000 tokens


def test_certainty_is_one_and_a_uniform_distribution_zero() -> None:
    sure, unsure = Confidence(1000, None), Confidence(1000, None)
    sure.add(0.0)
    unsure.add(UNSURE)
    assert sure.value == 1.0
    assert unsure.value == pytest.approx(0.0, abs=1e-12)


def test_the_value_is_one_minus_the_mean_normalised_entropy() -> None:
    confidence = Confidence(1000, None)
    for share in (0.1, 0.2, 0.6):
        confidence.add(share * UNSURE)
    assert confidence.value == pytest.approx(0.7)


def test_rounding_never_leaves_zero_to_one() -> None:
    confidence = Confidence(1000, None)
    confidence.add(UNSURE * 1.0001)
    assert confidence.value == 0.0
    confidence = Confidence(1000, None)
    confidence.add(-1e-6)
    assert confidence.value == 1.0


def test_the_first_token_is_judged_alone() -> None:
    assert Confidence(1000, 0.7).add(0.31 * UNSURE)
    assert not Confidence(1000, 0.7).add(0.29 * UNSURE)


def test_later_tokens_are_judged_by_the_mean_of_the_last_ten() -> None:
    confidence = Confidence(1000, 0.7)
    assert not confidence.add(0.0)
    # Nine unsure tokens after a sure one: the window of ten has a mean of 0.36.
    answers = [confidence.add(0.4 * UNSURE) for _ in range(WINDOW - 1)]
    assert answers == [False] * (WINDOW - 2) + [True]


def test_one_unsure_token_in_the_middle_does_not_hand_off() -> None:
    confidence = Confidence(1000, 0.7)
    answers = [confidence.add(UNSURE if index == 12 else 0.1) for index in range(30)]
    assert not any(answers)


def test_old_tokens_leave_the_window() -> None:
    confidence = Confidence(1000, 0.7)
    for _ in range(50):
        confidence.add(0.0)
    answers = [confidence.add(0.5 * UNSURE) for _ in range(WINDOW)]
    assert answers.index(True) == 6  # 7 of 10 at 0.5 have a mean of 0.35
    assert confidence.value > 0.9  # while the answer as a whole is still a sure one


def test_without_a_threshold_nothing_hands_off() -> None:
    confidence = Confidence(1000, None)
    assert not any(confidence.add(UNSURE) for _ in range(30))


def test_before_the_first_token_there_is_no_confidence() -> None:
    assert Confidence(1000, 0.7).value == 0.0


def test_a_vocabulary_of_one_token_divides_by_nothing() -> None:
    confidence = Confidence(1, 0.7)
    assert not confidence.add(0.0)
    assert confidence.value == 1.0


def test_the_lowest_confidence_is_where_a_threshold_hands_off() -> None:
    rng = random.Random(5)
    for _ in range(40):
        shares = [rng.random() ** 2 for _ in range(rng.randrange(1, 30))]
        confidences = [1 - share for share in shares]
        for threshold in (0.3, 0.6, 0.9):
            confidence = Confidence(1000, threshold)
            handed_off = any(confidence.add(share * UNSURE) for share in shares)
            assert handed_off == (lowest(confidences) < threshold)
    assert lowest([]) == 1.0
