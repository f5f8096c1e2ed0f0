from __future__ import annotations

import math

import numpy as np
import pytest

from cactus.confidence.calibration import Fit
from cactus.confidence.fit import BENT, LEAST, check_enough, cross_fitted, fit
from cactus.confidence.report import report
from cactus.errors import InvalidRequest


def made(count: int, seed: int = 1) -> tuple[list[dict[str, float]], list[bool], np.ndarray]:
    """Answers whose probability is a logistic function of two features, and that probability."""
    rng = np.random.default_rng(seed)
    a, b, noise = rng.normal(-1, 2, count), rng.uniform(0, 1, count), rng.normal(size=count)
    p = 1 / (1 + np.exp(-(1.5 * a - 2 * b + 2)))
    given = [
        {"logprob_mean": x, "margin_mean": y, "entropy": z, "cut": 0.0}
        for x, y, z in zip(a.tolist(), b.tolist(), noise.tolist(), strict=True)
    ]
    return given, (rng.random(count) < p).tolist(), p


def test_the_function_behind_the_answers_is_found() -> None:
    given, right, p = made(4 * BENT)
    found = fit(given, right)
    assert found.weights["logprob_mean"] == pytest.approx(1.5, abs=0.2)
    assert found.weights["margin_mean"] == pytest.approx(-2, abs=0.5)
    assert abs(found.weights["entropy"]) < 0.2
    assert found.weights["cut"] == 0.0, "what never varies says nothing"
    told = np.array([found.probability(each) for each in given])
    assert np.abs(told - p).mean() < 0.04


def test_a_crooked_probability_is_bent_straight() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=3000)
    p = np.where(x > 0, 0.9, 0.3)  # no logistic function
    given = [{"logprob_mean": each} for each in x.tolist()]
    right = (rng.random(3000) < p).tolist()
    bent = fit(given, right)
    assert len(bent.curve) > 2
    straight = fit(given[: BENT - 1], right[: BENT - 1])
    assert straight.curve == ()

    def error(found: Fit) -> float:
        told = np.array([found.probability(each) for each in given])
        return float(((told - p) ** 2).mean())

    assert error(bent) < 0.3 * error(straight)


def test_the_curve_keeps_the_order_of_answers() -> None:
    given, right, _ = made(2 * BENT)
    found = fit(given, right)
    places = [n / 1000 for n in range(1, 1000)]
    logits = [math.log(p / (1 - p)) for p in places]
    plain = {name: 0.0 for name in found.weights}
    scale = found.weights["logprob_mean"]
    told = [found.probability(plain | {"logprob_mean": (x - found.bias) / scale}) for x in logits]
    assert told == sorted(told)


def test_figures_of_answers_that_a_fit_has_not_seen_are_honest() -> None:
    rng = np.random.default_rng(0)
    names = ("logprob_mean", "logprob_min", "logprob_p10", "margin_mean", "entropy", "log_tokens")
    noise = [{name: rng.normal() for name in names} for _ in range(LEAST)]
    right = (rng.random(LEAST) < 0.5).tolist()
    learned = fit(noise, right)
    seen = report([learned.probability(each) for each in noise], right).auroc
    unseen = report(cross_fitted(noise, right), right).auroc
    assert seen is not None and unseen is not None
    assert seen > 0.6 > unseen, "noise looks good to who has learned it by heart"


def test_a_fit_is_the_same_each_time() -> None:
    given, right, _ = made(BENT)
    assert fit(given, right) == fit(given, right)


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ([True, False] * 10, "20 answers, expected at least 50"),
        ([True] * 60, "60 of 60 answers are right"),
        ([True] * 3 + [False] * 60, "3 of 63 answers are right"),
    ],
)
def test_too_little_to_learn_from_is_an_error(right: list[bool], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        check_enough(right)
    with pytest.raises(InvalidRequest, match=said):
        fit([{"entropy": 0.5}] * len(right), right)


def test_answers_that_are_separated_perfectly_do_not_overflow() -> None:
    given = [{"entropy": float(n)} for n in range(100)]
    found = fit(given, [n >= 50 for n in range(100)])
    assert 0 < found.probability({"entropy": -1e9}) < 0.05
    assert 0.95 < found.probability({"entropy": 1e9}) < 1
