from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from cactus.confidence.calibration import (
    FEATURES,
    Calibration,
    Fit,
    bent,
    features,
    parse_calibration,
)
from cactus.errors import ModelFormatError
from cactus.inputs.fields import Fields
from cactus.types import Scores

SCORES = Scores(7, -0.5, -2.0, -1.5, -0.7, 0.6, 0.1, 0.8)
FIT = Fit({"logprob_mean": 2.0, "cut": -1.0}, 0.5, least=0.01, most=0.99)
CURVED = replace(FIT, curve=((0.0, 0.01), (0.5, 0.2), (1.0, 0.99)))


def test_every_feature_has_a_value() -> None:
    found = features(replace(SCORES, agreement=0.4, self_check=0.9), cut=True)
    assert tuple(found) == FEATURES
    assert found["log_tokens"] == math.log(7) and found["cut"] == 1.0
    assert (found["agreement"], found["self_check"]) == (0.4, 0.9)
    assert tuple(features(SCORES, cut=False)) == FEATURES[:-2]


def test_a_fit_is_a_logistic_function_of_the_features() -> None:
    calibration = Calibration((FIT,), 100, 0.5)
    assert calibration.probability(SCORES, cut=False) == pytest.approx(1 / (1 + math.exp(0.5)))
    assert calibration.probability(SCORES, cut=True) == pytest.approx(1 / (1 + math.exp(1.5)))


def test_no_probability_is_beyond_what_was_seen() -> None:
    assert FIT.probability({"logprob_mean": -1e9, "cut": 0.0}) == 0.01
    assert FIT.probability({"logprob_mean": 1e9, "cut": 0.0}) == 0.99


def test_an_answer_without_content_is_never_right() -> None:
    assert Calibration((FIT,), 100, 0.5).probability(None, cut=False) == 0.0


def test_a_curve_bends_between_its_corners() -> None:
    assert bent(CURVED.curve, 0.25) == pytest.approx(0.105)
    assert bent(CURVED.curve, 0.5) == pytest.approx(0.2)
    assert bent(CURVED.curve, 0.75) == pytest.approx(0.595)
    assert bent(CURVED.curve, 1.0) == 0.99
    assert bent((), 0.3) == 0.3


def test_the_first_fit_whose_features_are_there_is_taken() -> None:
    asked = Fit({"agreement": 10.0}, -5.0)
    calibration = Calibration((asked, FIT), 100, 0.5)
    assert calibration.probability(SCORES, cut=False) == Calibration((FIT,), 100, 0.5).probability(
        SCORES, cut=False
    )
    known = replace(SCORES, agreement=1.0)
    assert calibration.probability(known, cut=False) == pytest.approx(1 / (1 + math.exp(-5)))


def parse(raw: Any) -> Calibration:
    return parse_calibration(Fields(json.loads(json.dumps(raw)), "calibration.json"))


def test_a_calibration_survives_its_file() -> None:
    calibration = Calibration((replace(FIT, weights={"agreement": 1.5}), CURVED), 500, 0.25)
    assert parse(calibration.to_dict()) == calibration


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("fits",), [], "fits: want a list of 1 to 16 fits"),
        (("questions",), 0, "questions"),
        (("right",), 1.5, "right"),
        (("fits", 0, "weights"), {"charm": 1}, "features among"),
        (("fits", 0, "weights"), {"cut": "much"}, "cut: want a number"),
        (("fits", 0, "weights"), {"agreement": 1}, "needs more than a run has"),
        (("fits", 0, "bias"), None, "bias"),
        (("fits", 0, "least"), -1, "least"),
        (("fits", 0, "curve"), [[0, 0.5], [0, 1]], "rising"),
        (("fits", 0, "curve"), [[0, 0.5], [1, 0.2]], "rising"),
        (("fits", 0, "curve"), [[0, 0.5, 1]], "a list of 2 numbers"),
    ],
)
def test_a_damaged_file_names_its_field(where: tuple[Any, ...], value: Any, said: str) -> None:
    raw = json.loads(json.dumps(Calibration((FIT,), 100, 0.5).to_dict()))
    inner = raw
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    with pytest.raises(ModelFormatError, match=r"^calibration\.json") as caught:
        parse(raw)
    assert said in str(caught.value)
