"""What sampling is tested and timed on: shapes of logits, options, and the formula in NumPy.

`benchmarks/sampling.py` times the same table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.graph.node import Graph, Node
from tests.native import programs

Array = NDArray[Any]


def _model(random: np.random.Generator, vocab: int) -> Array:
    """As a language model's: most far below the few that are likely."""
    logits = random.normal(0, 2.5, vocab)
    logits[random.integers(0, vocab, 30)] += np.linspace(4, 16, 30)
    return logits


def _cliff(random: np.random.Generator, vocab: int) -> Array:
    """Seven of equal weight, and nothing else that counts."""
    logits = random.normal(-60, 1, vocab)
    logits[random.choice(vocab, 7, replace=False)] = 3.25
    return logits


SHAPES: dict[str, Callable[[np.random.Generator, int], Array]] = {
    "model": _model,
    "gentle": lambda random, vocab: random.normal(0, 0.5, vocab),
    "flat": lambda _random, vocab: np.full(vocab, 1.5),
    "ties": lambda random, vocab: np.round(random.normal(0, 2, vocab)),
    "cliff": _cliff,
    "large": lambda random, vocab: random.normal(0, 1, vocab) + 5000,
}
"""Logits of a vocabulary; each is one token of the program that `store` makes."""

OPTIONS: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": 0.8},
    "hot": {"temperature": 3.0},
    "top_p": {"temperature": 0.8, "top_p": 0.9537},
    "low_top_p": {"temperature": 1.0, "top_p": 0.3123},
    "top_k": {"temperature": 0.8, "top_k": 40},
    "large_top_k": {"temperature": 1.2, "top_k": 700},
    "min_p": {"temperature": 1.0, "min_p": 0.0517},
    "top_k_top_p": {"temperature": 0.7, "top_k": 20, "top_p": 0.8123},
    "top_p_min_p": {"temperature": 0.3, "top_p": 0.9537, "min_p": 0.1517},
    "all_cuts": {"temperature": 1.1, "top_k": 50, "top_p": 0.9131, "min_p": 0.0213},
    "repetition": {"temperature": 1.0, "repetition_penalty": 1.3, "repetition_window": 300},
    "penalties": {
        "temperature": 0.9,
        "top_p": 0.9537,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.4,
        "frequency_penalty": 0.002,
    },
    "bias": {"temperature": 0.8, "min_p": 0.0213, "logit_bias": {5: 3.0, 1500: -2.0, 2099: 6.5}},
}
"""Options of a sampler that draws."""


def logits_of(vocab: int) -> dict[str, Array]:
    """The logits of every shape, [vocab] f32."""
    random = np.random.default_rng(vocab)
    return {name: make(random, vocab).astype(np.float32) for name, make in SHAPES.items()}


def store(vocab: int, path: Path) -> tuple[Graph, programs.Store]:
    """A program whose token t has the logits of shape t: a column of its one matrix."""
    matrix = np.zeros((vocab, 16), np.float32)
    matrix[:, : len(SHAPES)] = np.stack(list(logits_of(vocab).values()), 1)
    embed = Node("embed", (), 16, {}, ("tokens",), None, "embed")
    rows = Node("output_rows", (embed,), 16, {}, (), None, "rows")
    logits = Node("linear", (rows,), vocab, {}, ("logits",), None, "logits")
    graph = Graph.of([logits], [], {"tokens": (16, 16), "logits": (vocab, 16)})
    tensors = {"tokens": np.eye(16, dtype=np.float32), "logits": matrix}
    return graph, programs.store(graph, tensors, path)


def probabilities(
    logits: Array,
    prompt: Array | Sequence[int] = (),
    answer: Array | Sequence[int] = (),
    allowed: Array | None = None,
    *,
    temperature: float,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    repetition_penalty: float = 1.0,
    presence_penalty: float = 0.0,
    frequency_penalty: float = 0.0,
    repetition_window: int | None = None,
    logit_bias: dict[int, float] | None = None,
) -> Array:
    """How likely each token is to be drawn, [vocab]; `allowed` is boolean, [vocab].

    Bias first; the penalties as in transformers' RepetitionPenaltyLogitsProcessor and in the OpenAI
    API; then the mask, temperature, and the cuts, each of what the last one left.
    """
    scores = logits.astype(np.float32)
    for token, bias in (logit_bias or {}).items():
        scores[token] += np.float32(bias)
    answer = np.array(answer, np.int64)
    text = np.concatenate([np.array(prompt, np.int64), answer])
    seen = np.flatnonzero(np.bincount(text[-repetition_window:] if repetition_window else text))
    penalty = np.float32(repetition_penalty)
    score = scores[seen]
    scores[seen] = np.where(score < 0, score * penalty, score / penalty)
    counts = np.bincount(answer, minlength=len(scores)).astype(np.float32)
    scores -= np.float32(presence_penalty) * (counts > 0) + np.float32(frequency_penalty) * counts
    kept = np.full(len(scores), True) if allowed is None else allowed.copy()
    order = np.lexsort((np.arange(len(scores)), -scores))
    order = order[kept[order]]
    if top_k:
        order = order[:top_k]
    weights = np.exp((scores[order].astype(np.float64) - scores[order[0]]) / temperature)
    share = weights / weights.sum()
    before = np.cumsum(share) - share
    stays = (before < top_p) & (weights >= min_p)
    stays[0] = True
    result = np.zeros(len(scores))
    result[order[stays]] = weights[stays] / weights[stays].sum()
    return result
