"""Fitting a calibration to answers that were judged: plain NumPy, in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cactus.confidence.calibration import Fit
from cactus.errors import InvalidRequest

LEAST, RARE = 50, 5
"""Answers that a fit needs, and right and wrong answers among them."""

BENT = 500
"""From so many questions on the logistic function is bent by an isotonic one."""

RIDGES = (1.0, 10.0, 100.0)
"""Weights of the squared coefficients of standardised features, beside the sum of the losses: the
one is taken that predicts answers best which it was not fitted to."""

FOLDS = 5

Features = Sequence[Mapping[str, float]]
Floats = NDArray[np.float64]


def fit(given: Features, right: Sequence[bool]) -> Fit:
    """The fit to answers with these features, the same for all, and whether they were right.

    Raises InvalidRequest where there are too few of them, or too few of a kind.
    """
    check_enough(right)
    return _fit(*_arrays(given, right))


def cross_fitted(given: Features, right: Sequence[bool]) -> Floats:
    """The probability of each answer, by a fit to others: an honest measure of what `fit` gives."""
    check_enough(right)
    names, x, y = _arrays(given, right)
    found = np.empty(len(y))
    for out in _folds(len(y)):
        fitted = _fit(names, x[~out], y[~out])
        found[out] = [fitted.probability(dict(zip(names, row, strict=True))) for row in x[out]]
    return found


def check_enough(right: Sequence[bool]) -> None:
    """Raises InvalidRequest where there are too few answers for a fit, or too few of a kind."""
    good = sum(right)
    if len(right) < LEAST:
        raise InvalidRequest(f"{len(right)} answers, expected at least {LEAST}")
    if min(good, len(right) - good) < RARE:
        raise InvalidRequest(
            f"{good} of {len(right)} answers are right, expected at least {RARE} right and "
            f"{RARE} wrong ones; take harder or easier questions, or judge them otherwise"
        )


def _arrays(given: Features, right: Sequence[bool]) -> tuple[list[str], Floats, Floats]:
    """Names, features [answers, names], and 1 for each that was right."""
    names = list(given[0])
    x = np.array([[each[name] for name in names] for each in given])
    return names, x, np.array(right, np.float64)


def _fit(names: Sequence[str], x: Floats, y: Floats) -> Fit:
    told, ridge = min(
        ((_told(x, y, ridge), ridge) for ridge in RIDGES), key=lambda each: _loss(each[0], y)
    )
    weights, bias = _logistic(x, y, ridge)
    # As if one right and one wrong answer more had been seen.
    least, most = 1 / (len(y) + 2), 1 - 1 / (len(y) + 2)
    curve: tuple[tuple[float, float], ...] = ()
    if len(y) >= BENT:
        # Bent by what the function says of answers that it was not fitted to.
        curve = _isotonic(told, y, least, most)
    return Fit(dict(zip(names, weights.tolist(), strict=True)), bias, curve, least, most)


def _told(x: Floats, y: Floats, ridge: float) -> Floats:
    """What the function says of each answer where it is fitted to others."""
    told = np.empty(len(y))
    for out in _folds(len(y)):
        told[out] = _sigmoid(x[out], *_logistic(x[~out], y[~out], ridge))
    return told


def _loss(p: Floats, y: Floats) -> float:
    """The mean negative log-likelihood."""
    return float(-np.log(np.maximum(1e-12, np.where(y > 0.5, p, 1 - p))).mean())


def _folds(count: int) -> Iterator[NDArray[np.bool_]]:
    """`count` answers in five parts, the same ones each time: of each, which ones are in it."""
    place = np.random.default_rng(0).permutation(count) % FOLDS
    for fold in range(FOLDS):
        yield place == fold


def _logistic(x: Floats, y: Floats, ridge: float) -> tuple[Floats, float]:
    """Weights and bias of the logistic regression with a ridge, by Newton's method."""
    mean, scale = x.mean(axis=0), x.std(axis=0)
    varies = scale > 1e-12
    scale = np.where(varies, scale, 1.0)
    z = np.column_stack([(x - mean) / scale * varies, np.ones(len(y))])
    penalty = np.diag([ridge] * x.shape[1] + [1e-6])
    w = np.zeros(z.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-(z @ w)))
        slope = z.T @ (p - y) + penalty @ w
        step = np.linalg.solve((z * (p * (1 - p))[:, None]).T @ z + penalty, slope)
        w -= step * min(1.0, 5.0 / (1e-12 + np.abs(step).max()))
        if np.abs(step).max() < 1e-9:
            break
    weights = w[:-1] * varies / scale
    return weights, float(w[-1] - weights @ mean)


def _sigmoid(x: Floats, weights: Floats, bias: float) -> Floats:
    p: Floats = 1 / (1 + np.exp(-(x @ weights + bias)))
    return p


def _isotonic(p: Floats, y: Floats, least: float, most: float) -> tuple[tuple[float, float], ...]:
    """The rising line nearest to the points (p, y), with corners in the middle of its stairs.

    Neighbours that do not rise are pooled (Ayer et al. 1955); lines between the stairs keep the
    order of answers, which stairs would not.
    """
    order = np.argsort(p, kind="stable")
    stairs: list[list[float]] = []  # sums of p and of y, count
    for x, value in zip(p[order].tolist(), y[order].tolist(), strict=True):
        stairs.append([x, value, 1.0])
        while len(stairs) > 1 and (
            stairs[-2][1] / stairs[-2][2] >= stairs[-1][1] / stairs[-1][2]
            or stairs[-2][0] / stairs[-2][2] >= stairs[-1][0] / stairs[-1][2]
        ):
            last = stairs.pop()
            stairs[-1] = [a + b for a, b in zip(stairs[-1], last, strict=True)]
    corners = [(sp / n, min(most, max(least, sy / n))) for sp, sy, n in stairs]
    inner = [(x, y) for x, y in corners if 0 < x < 1]
    return ((0.0, least), *inner, (1.0, most))
