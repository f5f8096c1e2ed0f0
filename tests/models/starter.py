"""The starter model's golden data, from tools/make_golden_starter.py, and comparisons with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.graph.node import Graph
from cactus.graph.passes import optimize
from cactus.graph.reference import ReferenceProgram
from cactus.graph.step import Row
from cactus.models.base import load_architecture
from cactus.weights.format.folder import WeightsFolder

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


@dataclass(frozen=True)
class Text:
    """tests/golden/text.txt to transformers: its ids; the log-probability of each next token (one
    less than ids); the most likely token at each position."""

    ids: list[int]
    logprobs: NDArray[np.float32]
    argmax: NDArray[np.int32]

    @property
    def perplexity(self) -> float:
        """exp of the mean negative log-probability."""
        return float(np.exp(-self.logprobs.mean(dtype=np.float64)))


@cache
def text(length: int | None = None) -> Text:
    """The perplexity text, or its first tokens, 2 at least."""
    with np.load(GOLDEN / "starter_text.npz") as arrays:
        ids = arrays["ids"][:length].tolist()
        return Text(ids, arrays["logprobs"][: len(ids) - 1], arrays["argmax"][: len(ids)])


@cache
def continuations() -> list[dict[str, Any]]:
    """20 entries: ``prompt`` and ``tokens`` (ids), ``smallest_lead`` of a choice in logits."""
    entries: list[dict[str, Any]] = json.loads((GOLDEN / "starter_greedy.json").read_text())
    return entries


@cache
def reference(folder: Path, *, fused: bool = False, kv_dtype: Any = "f32") -> ReferenceProgram:
    """The starter in NumPy with dequantised weights.

    ``fused`` takes the graph that the native core runs, with its quantised activations.
    """
    with WeightsFolder.open(folder) as weights:
        architecture = load_architecture(weights.config)
        architecture.check({name: tensor.shape for name, tensor in weights.tensors.items()})
        graph: Graph = architecture.build()
        tensors = {name: weights.dequantize(name) for name in graph.weights}
    if fused:
        shapes = graph.weights
        graph = optimize(graph, lambda n: weights.tensors[n].dtype, lambda n: shapes[n][0])
    return ReferenceProgram(graph, tensors, kv_dtype=kv_dtype)


def continue_all(program: Any, entries: list[dict[str, Any]]) -> list[list[int]]:
    """The greedy continuations of these entries' prompts, in one ragged batch."""
    prompts = [entry["prompt"] for entry in entries]
    sessions = [program.session() for _ in prompts]
    outputs = []
    # Few enough prompts in a step for any program's chunk.
    for i in range(0, len(prompts), 5):
        rows = [Row(s, p) for s, p in zip(sessions[i : i + 5], prompts[i : i + 5], strict=True)]
        outputs += program.step(rows)
    chosen = [[output.token] for output in outputs]
    while len(chosen[0]) < len(entries[0]["tokens"]):
        rows = [Row(s, tokens[-1:]) for s, tokens in zip(sessions, chosen, strict=True)]
        for tokens, output in zip(chosen, program.step(rows), strict=True):
            tokens.append(output.token)
    return chosen


def read_text(program: Any, length: int | None = None) -> Text:
    """What a program says of the perplexity text, or of its first tokens."""
    ids = text(length).ids
    session = program.session()
    logprobs: list[float] = []
    argmax: list[int] = []
    for start in range(0, len(ids), program.chunk):
        row = Row(session, ids[start : start + program.chunk], "all")
        for output in program.step([row], want_logits=True):
            argmax.append(output.token)
            if len(argmax) < len(ids):
                logits = output.logits - output.logits.max()
                total = np.exp(logits).sum(dtype=np.float64)
                logprobs.append(float(logits[ids[len(argmax)]] - np.log(total)))
    return Text(ids, np.array(logprobs, np.float32), np.array(argmax, np.int32))
