"""Reading a text with the model that is being converted, to see what its matrices multiply.

The graph runs in NumPy, stage by stage: from one point where a single value is alive, the residual
stream, to the next. All sequences of the text pass a stage before the next one begins, so only its
weights are in memory, and later stages read what the quantised ones before them make of the text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cactus.errors import InvalidRequest
from cactus.graph.node import Graph, Node
from cactus.graph.ops import AXES
from cactus.graph.reference_ops import KERNELS, Span
from cactus.tokenizer import TokenizerConfig, read_backend
from cactus.weights.format.tiles import F16, F32, U8, dequantize_q4
from cactus.weights.rounding.compensate import Feedback, feedback, quantize_with_feedback, stretches
from cactus.weights.rounding.encode import beyond_f16, check_finite
from cactus.weights.rounding.workers import Workers
from cactus.weights.sources.gguf.blocks import dequantize
from cactus.weights.sources.source import SourceTensor

OWN_TEXT = Path(__file__).with_name("calibration.txt")
"""Prose, dialogue, code and tables that were written for this purpose."""

SEQUENCE = 512
"""Tokens of one sequence."""

TOKENS = 8192
"""Tokens of a text that are read at most."""

SEQUENCES = 256
"""Sequences of a text that are read at most."""

ROWS = 2048
"""Rows of a matrix that are rounded at a time."""

MAX_TEXT_BYTES = 16 << 20
"""Bytes of a text that may be given."""


def tokenize(text: str, folder: Path, vocabulary: int) -> tuple[int | None, list[int]]:
    """The id that raw text begins with, if the model wants one, and the ids of `text`.

    Ids past the `vocabulary` are left out. Raises `InvalidRequest` for a text of which the
    tokenizer in `folder` makes nothing.
    """
    backend = read_backend(folder)
    ids = backend.encode(text, add_special_tokens=False).ids
    config = TokenizerConfig.read(folder)
    start = backend.token_to_id(config.tokens.get("bos", "")) if config.add_bos else None
    ids = [id for id in ids if id < vocabulary]
    if not ids:
        raise InvalidRequest("the model's tokenizer makes no tokens of the calibration text")
    return start if start is None or start < vocabulary else None, ids


def cut(ids: Sequence[int], start: int | None, limit: int) -> list[NDArray[np.int64]]:
    """The first `TOKENS` ids in sequences of `SEQUENCE`, or the context `limit` if that is less.

    There are `SEQUENCES` at most: what a context of a few tokens takes in must not take minutes.
    `start`, if there is one, is the id that each of them begins with.
    """
    before = [] if start is None else [start]
    size = max(1, min(SEQUENCE, limit) - len(before))
    ids = ids[: min(TOKENS, SEQUENCES * size)]
    return [np.array([*before, *ids[i : i + size]], np.int64) for i in range(0, len(ids), size)]


class Rounded(NamedTuple):
    """A matrix and its codes, scales and minima, as `quantize_q4` gives them.

    `output_rms` is |(stored - values) x| / |values x| over the inputs x that the text made.
    """

    name: str
    values: F32
    codes: tuple[U8, F16, F16]
    stored: F32
    output_rms: float


@dataclass(frozen=True)
class Calibration:
    """What is needed to round the matrices in `groups` (columns that share a scale, by name).

    `tensors` are all tensors that the graph needs, by name; `tokens` sequences of ids.
    """

    graph: Graph
    tensors: Mapping[str, SourceTensor]
    tokens: Sequence[NDArray[np.int64]]
    groups: Mapping[str, int]

    @cached_property
    def names(self) -> list[str]:
        """The matrices in the order in which `quantize` yields them: those of linears alone."""
        linears = (node for node in self.graph.nodes if node.op == "linear")
        names = dict.fromkeys(name for node in linears for name in node.weights)
        return [name for name in names if name in self.groups]

    def quantize(self, workers: Workers) -> Iterator[Rounded]:
        """Round all of `names`, one after the other.

        Raises `ModelFormatError` for values that are not finite and `UnsupportedModel` for those
        beyond f16, naming the tensor.
        """
        words, table = self.embedding()
        carried: list[F32 | None] = [None] * len(words)
        before: Node | None = None
        left = set(self.names)
        for stage in stages(self.graph):
            if not left:
                return
            weights = self.stage_weights(stage) | table
            runs = [SequenceRun(ids, weights) for ids in words]
            linears = [n for n in stage if n.op == "linear" and left.intersection(n.weights)]
            widths = {n.inputs[0]: self.groups[n.weights[0]] for n in linears}
            passed = workers.map(
                partial(_pass, stage, before, widths), zip(runs, carried, strict=True)
            )
            after, seen = [], _Seen({}, {})
            for value, one in passed:
                after.append(value)
                seen.add(one)
            prepared = {
                source: [feedback(gram, widths[source]) for gram in seen.grams.pop(source)]
                for source in widths
            }
            for node in linears:
                name = node.weights[0]
                if name in left:
                    left.discard(name)
                    rounded = _round(
                        name, weights[name], prepared[node.inputs[0]], seen.powers[node], workers
                    )
                    yield rounded
                    weights[name] = rounded.stored
            if linears and left:
                passed = workers.map(
                    partial(_pass, stage, before, {}), zip(runs, carried, strict=True)
                )
                after = [value for value, _ in passed]
            carried, before = list(after), stage[-1]

    def stage_weights(self, stage: Sequence[Node]) -> dict[str, F32]:
        """The values of a stage's tensors, but for embeddings; they may be replaced."""
        nodes = [node for node in stage if node.op != "embed"]
        return {name: self._read(name) for node in nodes for name in node.weights}

    def _read(self, name: str) -> F32:
        """A tensor's values in the graph's shape."""
        tensor = self.tensors[name]
        rows = math.prod(tensor.shape[:-1])
        values = dequantize(tensor.kind, tensor.rows(0, rows))
        check_finite(name, values)
        return values.reshape(self.graph.weights[name])

    def embedding(self) -> tuple[list[NDArray[np.int64]], dict[str, F32]]:
        """Only those rows of embeddings that the tokens need, and the tokens as their numbers."""
        used, numbers = np.unique(np.concatenate(self.tokens), return_inverse=True)
        table = {
            name: np.concatenate([self._row(self.tensors[name], int(i)) for i in used])
            for node in self.graph.nodes
            if node.op == "embed"
            for name in node.weights
        }
        ends = np.cumsum([len(ids) for ids in self.tokens])[:-1]
        return np.split(numbers.reshape(-1), ends), table

    def _row(self, tensor: SourceTensor, row: int) -> F32:
        start = row // tensor.unit * tensor.unit
        raw = tensor.rows(start, min(start + tensor.unit, tensor.shape[0]))
        values = dequantize(tensor.kind, raw)[row - start : row - start + 1]
        check_finite(tensor.name, values)
        return values


def stages(graph: Graph) -> list[list[Node]]:
    """The nodes in order, cut wherever one value alone is read later."""
    last = {source: i for i, node in enumerate(graph.nodes) for source in node.inputs}
    result: list[list[Node]] = [[]]
    alive: set[Node] = set()
    for i, node in enumerate(graph.nodes):
        result[-1].append(node)
        alive = {value for value in (*alive, node) if last.get(value, -1) > i}
        if len(alive) == 1:
            result.append([])
    return [stage for stage in result if stage]


@dataclass
class SequenceRun:
    """One sequence in a stage (the ``Run`` that the kernels see): a batch without a past."""

    tokens: NDArray[np.int64]
    weights: Mapping[str, F32]

    def __post_init__(self) -> None:
        count = len(self.tokens)
        self.positions = self.output_index = np.arange(count)
        self.spans = [Span(None, 0, count, 0)]
        # Of a model that sees: no row is an image's, and words turn by one number for all axes.
        self.features = np.zeros((0, MAX_FEATURES), np.float32)
        self.feature_rows = np.zeros(0, np.int64)
        self.given_positions = np.repeat(np.arange(count, dtype=np.int32)[:, None], AXES, axis=1)

    def weight(self, name: str) -> F32:
        return self.weights[name]

    def remember(self, node: Node, span: Span, rows: F32, near: F32 | None = None) -> F32:
        return rows


MAX_FEATURES = 1 << 20
"""More floats than a row of features has."""


@dataclass
class _Seen:
    """Sums over the tokens of a stage: x xT by what the linears read, |y|^2 by linear."""

    grams: dict[Node, list[F32]]
    powers: dict[Node, float]

    def add(self, other: _Seen) -> None:
        for source, parts in other.grams.items():
            for total, part in zip(self.grams.setdefault(source, parts), parts, strict=True):
                if total is not part:
                    with np.errstate(over="ignore", invalid="ignore"):  # as in `_pass`
                        total += part
        for node, power in other.powers.items():
            self.powers[node] = self.powers.get(node, 0.0) + power


def _pass(
    stage: Sequence[Node],
    before: Node | None,
    widths: Mapping[Node, int],
    pair: tuple[SequenceRun, F32 | None],
) -> tuple[F32, _Seen]:
    """One sequence through a stage: its last value, and what was seen of the nodes in `widths`."""
    run, value = pair
    values: dict[Node, Any] = {} if before is None else {before: value}
    last = {source: node for node in stage for source in node.inputs}
    seen = _Seen({}, {})
    # What overflows here makes its sums unusable, and `feedback` then does without them.
    with np.errstate(all="ignore"):
        for node in stage:
            values[node] = KERNELS[node.op](run, node, *(values[x] for x in node.inputs))
            if node.op == "linear" and node.inputs[0] in widths:
                source = node.inputs[0]
                x, y = values[source], values[node].reshape(-1)
                seen.powers[node] = float(np.dot(y, y))
                if source not in seen.grams:
                    parts = stretches(x.shape[1], widths[source])
                    seen.grams[source] = [x[:, part].T @ x[:, part] for part in parts]
            for source in set(node.inputs):
                if last[source] is node:
                    values.pop(source, None)
    return values[stage[-1]], seen


def _round(
    name: str, values: F32, prepared: Sequence[Feedback], power: float, workers: Workers
) -> Rounded:
    parts = stretches(values.shape[1], prepared[0].group)
    starts = range(0, len(values), ROWS)
    jobs = [
        (values[start : start + ROWS, part], fed)
        for start in starts
        for part, fed in zip(parts, prepared, strict=True)
    ]
    try:
        done = list(workers.map(lambda job: quantize_with_feedback(*job), jobs))
    except OverflowError:
        raise beyond_f16(name, values) from None
    loss = sum(fitted.loss for fitted in done)
    rows = [done[i : i + len(parts)] for i in range(0, len(done), len(parts))]
    codes, scales, minima = (
        np.concatenate([np.concatenate([fitted[i] for fitted in row], axis=1) for row in rows])
        for i in range(3)
    )
    stored = dequantize_q4(codes, scales, minima)
    # The damping counts as loss, too, which can only make this figure larger.
    output_rms = math.sqrt(loss / power) if power > 0 and math.isfinite(power) else 0.0
    return Rounded(name, values, (codes, scales, minima), stored, output_rms)
