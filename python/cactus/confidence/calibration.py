"""What makes a probability of an answer's scores: a logistic function, bent by an isotonic one."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from cactus.errors import ModelFormatError
from cactus.inputs.fields import Fields
from cactus.types import Scores

RUN = (
    "logprob_mean",
    "logprob_min",
    "logprob_p10",
    "logprob_window",
    "margin_mean",
    "margin_min",
    "entropy",
)
"""The scores that every answer has, as features."""

FEATURES = (*RUN, "log_tokens", "cut", "agreement", "self_check")
"""All features that a fit may have; `cut`: the answer ended for one of the reasons `CUT`."""

CUT = ("length", "repetition", "cancelled")
"""Reasons to end of an answer that had not come to its end."""

MOST = 1e6
"""No weight, place or bias of a file is larger."""


def features(scores: Scores, cut: bool) -> dict[str, float]:
    """An answer's features, those of its scores that are there."""
    found: dict[str, float] = {name: getattr(scores, name) for name in RUN}
    found |= {"log_tokens": math.log(scores.content_tokens), "cut": float(cut)}
    asked = {"agreement": scores.agreement, "self_check": scores.self_check}
    return found | {name: value for name, value in asked.items() if value is not None}


@dataclass(frozen=True)
class Fit:
    """p(right) = curve(sigmoid(bias + weights · features)), within `least` and `most`.

    `curve` are the corners of a rising line, (probability in, probability out); without corners it
    changes nothing.
    """

    weights: Mapping[str, float]
    bias: float
    curve: tuple[tuple[float, float], ...] = ()
    least: float = 0.0
    most: float = 1.0

    def probability(self, given: Mapping[str, float]) -> float:
        """For features that have at least those of the fit."""
        x = self.bias + sum(weight * given[name] for name, weight in self.weights.items())
        p = 1 / (1 + math.exp(-max(-500.0, min(500.0, x))))
        return max(self.least, min(self.most, bent(self.curve, p)))


def bent(curve: Sequence[tuple[float, float]], p: float) -> float:
    """`p` by a line with corners; level outside of them."""
    if not curve:
        return p
    place = bisect_right(curve, (p, math.inf))
    if place in (0, len(curve)):
        return curve[min(place, len(curve) - 1)][1]
    (x0, y0), (x1, y1) = curve[place - 1], curve[place]
    return y0 + (y1 - y0) * (p - x0) / (x1 - x0)


@dataclass(frozen=True)
class Calibration:
    """What was learned from `questions` answers of one model, of which the share `right` was so.

    `fits` are tried in their order: the first whose features are all there is taken. The last one
    needs only what every answer has.
    """

    fits: tuple[Fit, ...]
    questions: int
    right: float

    def probability(self, scores: Scores | None, *, cut: bool) -> float:
        """How probable it is that an answer is right; 0 for one without content."""
        if scores is None:
            return 0.0
        given = features(scores, cut)
        fit = next(fit for fit in self.fits if fit.weights.keys() <= given.keys())
        return fit.probability(given)

    def to_dict(self) -> dict[str, Any]:
        """What a file holds of it."""
        return asdict(self)


def parse_calibration(fields: Fields) -> Calibration:
    """The inverse of ``to_dict``. Raises ModelFormatError naming the field that is wrong."""
    raw = fields.raw.get("fits")
    if not isinstance(raw, list) or not 1 <= len(raw) <= 16:
        raise fields.error("fits", "a list of 1 to 16 fits", raw)
    fits = [
        _parse_fit(Fields(each, f"{fields.where}: fits[{index}]")) for index, each in enumerate(raw)
    ]
    always = {*RUN, "log_tokens", "cut"}
    if not fits[-1].weights.keys() <= always:
        raise ModelFormatError(f"{fields.where}: fits[{len(fits) - 1}] needs more than a run has")
    return Calibration(
        tuple(fits), fields.integer("questions", 1, 2**31 - 1), fields.number("right", 0, 1)
    )


def _parse_fit(fields: Fields) -> Fit:
    weights = fields.object("weights")
    if weights is None:
        raise fields.error("weights", "numbers by features", None)
    for name in weights.raw:
        if name not in FEATURES:
            raise fields.error("weights", "features among " + ", ".join(FEATURES), name)
    curve = fields.raw.get("curve", [])
    if not isinstance(curve, list) or len(curve) > 10_000:
        raise fields.error("curve", "a list of at most 10,000 corners", curve)
    corners = [
        tuple(Fields({"corner": each}, f"{fields.where}: curve[{n}]").numbers("corner", 2, 0, 1))
        for n, each in enumerate(curve)
    ]
    if any(not (a[0] < b[0] and a[1] <= b[1]) for a, b in pairwise(corners)):
        raise fields.error("curve", "corners of a rising line", curve)
    return Fit(
        {name: weights.number(name, -MOST, MOST) for name in weights.raw},
        fields.number("bias", -MOST, MOST),
        tuple((x, y) for x, y in corners),
        fields.number("least", 0, 1),
        fields.number("most", 0, 1),
    )
