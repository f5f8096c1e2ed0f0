from __future__ import annotations

import random

import pytest

from cactus.confidence.report import report


def test_auroc_is_how_often_a_right_answer_stands_above_a_wrong_one() -> None:
    rng = random.Random(2)
    p = [rng.randrange(12) / 12 for _ in range(80)]  # with equal ones
    right = [rng.random() < each for each in p]
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, good in zip(p, right, strict=True)
        for b, bad in zip(p, right, strict=True)
        if good and not bad
    ]
    assert report(p, right).auroc == pytest.approx(sum(pairs) / len(pairs))


def test_without_right_or_without_wrong_answers_there_is_no_auroc() -> None:
    assert report([0.1, 0.9], [True, True]).auroc is None
    assert report([0.1, 0.9], [False, False]).auroc is None


def test_bins_ece_and_brier() -> None:
    found = report([0.05, 0.05, 0.95, 1.0], [False, True, True, True])
    low, high = found.bins
    assert (low.low, low.count, low.right) == (0.0, 2, 0.5)
    assert (high.low, high.count, high.right) == (0.9, 2, 1.0)
    assert found.ece == pytest.approx((2 * 0.45 + 2 * 0.025) / 4)
    assert found.brier == pytest.approx((0.05**2 + 0.95**2 + 0.05**2 + 0) / 4)


def test_what_is_handed_off_and_what_is_right_of_the_rest() -> None:
    found = report([0.2, 0.4, 0.6, 0.8], [False, True, False, True])
    shares = {each.threshold: each for each in found.shares}
    assert (shares[0.5].handed_off, shares[0.5].right) == (0.5, 0.5)
    assert (shares[0.8].handed_off, shares[0.8].right) == (0.75, 1.0)
    assert (shares[0.9].handed_off, shares[0.9].right) == (1.0, None)


def test_a_hand_off_may_be_decided_by_another_number() -> None:
    found = report([0.9, 0.9], [True, False], lowest=[0.9, 0.1])
    assert found.shares[4].handed_off == 0.5 and found.shares[4].right == 1.0
    assert found.bins[0].count == 2
