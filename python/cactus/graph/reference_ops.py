"""Every op in NumPy, in f32: the living definition that kernels are tested against.

Written for reading. A function gets the run of the current step, its node, and the values of its
inputs, each ``[T, width]``; ``graph/ops.py`` has the same formulas as text.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .node import Node
from .ops import matrix_count

Array = NDArray[np.float32]

STEPS = 119 * 16
"""The largest magnitude of an activation in 12 bits, in its steps of 16 units."""


@dataclass(frozen=True)
class Quantized:
    """Activations ``q * scale``, one scale per row and group of columns.

    ``q`` is -127..127 in 8 bits. In 12 bits there are two levels of int8, the lower one shared by a
    column of the first and of the last four of each eight columns: ``q = 256 * high + low`` and
    ``q = 256 * high + 16 * low``. Each column then has steps of 16 units.
    """

    q: NDArray[np.int32]
    scale: Array

    def value(self) -> Array:
        """The numbers that a linear works with."""
        scale = np.repeat(self.scale, self.q.shape[1] // self.scale.shape[1], axis=1)
        return self.q.astype(np.float32) * scale


@dataclass(frozen=True)
class Span:
    """The rows ``start:stop`` of a batch: one session's new tokens, at positions from ``first``."""

    session: Any
    start: int
    stop: int
    first: int

    @property
    def count(self) -> int:
        """How many new tokens."""
        return self.stop - self.start


class Run(Protocol):
    """One step in progress: the batch, the weights, and access to the sessions' slots."""

    tokens: NDArray[np.int64]
    features: Array
    feature_rows: NDArray[np.int64]
    positions: NDArray[np.int64]
    given_positions: NDArray[np.int32]
    spans: list[Span]
    output_index: NDArray[np.int64]

    def activations(self, node: Node) -> str:
        """What the node's value is quantised to: "int12" or "int8"."""

    def weight(self, name: str) -> Array:
        """The tensor of that checkpoint name in f32."""

    def remember(self, node: Node, span: Span, rows: Array, near: Array | None = None) -> Array:
        """Append to the node's slot of that session; everything in it from position 0 on.

        ``near`` are the queries of the same rows, which keys of int8 are rounded for.
        """

    def recall(self, node: Node, span: Span) -> Array:
        """Everything in the node's slot of that session."""

    def stored(self, node: Node, rows: Array) -> Array:
        """Keys and values as they are read again where nothing keeps them."""


KERNELS: dict[str, Callable[..., Array | Quantized]] = {}
_Kernel = TypeVar("_Kernel", bound=Callable[..., "Array | Quantized"])


def kernel(function: _Kernel) -> _Kernel:
    """Enter a function into the table; ``attrs["quantize"]`` is served here for every op."""
    name = function.__name__

    def wrapped(run: Run, node: Node, *inputs: Array | Quantized) -> Array | Quantized:
        result = function(run, node, *inputs)
        if node.attrs.get("quantize"):
            assert not isinstance(result, Quantized)
            return quantized(result, node.attrs["quantize"], run.activations(node))
        return result

    KERNELS[name] = wrapped
    return function


def quantized(x: Array, group: int, activations: str = "int12") -> Quantized:
    """``x`` in 8 bits ("int8") or 12 ("int12"), one scale per row and ``group`` columns.

    Groups of zeros, or of nothing above 1e-33, are zeros.
    """
    step, steps = (1, 127) if activations == "int8" else (16, STEPS)
    groups = x.reshape(len(x), x.shape[1] // group, group)
    scale = np.abs(groups).max(axis=2) / np.float32(step * steps)
    inverse = np.zeros_like(scale)
    np.divide(np.float32(1 / step), scale, out=inverse, where=scale > 1e-37)
    if activations == "int8":
        q = np.clip(np.rint(groups * inverse[..., None]), -steps, steps).astype(np.int32)
    else:
        q = _codes_of_12(groups * inverse[..., None])
    return Quantized(q.reshape(x.shape), scale)


def _codes_of_12(x: Array) -> NDArray[np.int32]:
    """Codes of x in steps, of ``[T, groups, group]``."""
    steps = x.reshape(*x.shape[:2], x.shape[2] // 8, 2, 4)
    first, last = steps[..., 0, :], _rounded(steps[..., 1, :])
    fine = last % 16
    coarse = _rounded(first - fine.astype(np.float32) / np.float32(16))
    low = 16 * ((coarse + 8) % 16 - 8) + fine
    q = np.empty(steps.shape, np.int32)
    # A low level of -128 is avoided: the whole pair goes up a step.
    q[..., 0, :] = 16 * coarse + fine + 16 * (low == -128)
    q[..., 1, :] = 16 * last
    return q


def _rounded(steps: Array) -> NDArray[np.int32]:
    return np.clip(np.rint(steps), -STEPS - 1, STEPS + 1).astype(np.int32)


def half_rounded(x: Array) -> Array:
    """``x`` in f16 and back; what is larger than f16 can be is its largest."""
    most = float(np.finfo(np.float16).max)
    result: Array = np.clip(x, -most, most).astype(np.float16).astype(np.float32)
    return result


def int8_rounded(x: Array, group: int) -> Array:
    """``x`` in int8 and back: -127..127 with a scale for each ``group`` of columns.

    A group with anything not finite is NaN; one of nothing above 1e-35 is zeros.
    """
    groups = x.reshape(len(x), -1, group)
    largest = np.abs(groups).max(axis=2, keepdims=True)
    scale = np.where(np.isfinite(largest), largest / np.float32(127), np.float32(np.nan))
    inverse = np.zeros_like(scale)
    np.divide(np.float32(127), largest, out=inverse, where=largest >= 1e-35)
    result: Array = np.rint(groups * inverse) * scale
    return result.reshape(x.shape)


TURNS, NEAR, NEAR_WEIGHT = 4, 8, 16


def int8_keys(k: Array, q: Array, head_dim: int) -> Array:
    """Keys in int8 and back, rounded for the queries of their own position: both are mixed.

    A head's keys are rounded to the nearest codes. Then up to TURNS of them go to their other
    neighbour, each time the one by which |d|^2 + NEAR_WEIGHT / |q|^2 (q . d)^2 falls most, where d
    is what is lost, and |q|^2 the mean of the first NEAR queries of the head, over which the last
    term is summed.
    """
    rounded = int8_rounded(k, head_dim)
    keys, result = k.reshape(-1, head_dim).astype(np.float64), rounded.reshape(-1, head_dim)
    largest = np.abs(keys).max(axis=1, keepdims=True)
    queries = q.reshape(len(keys), -1, head_dim)[:, :NEAR].astype(np.float64)
    squares = np.square(queries).sum(axis=(1, 2))
    suits = (squares > 1e-30) & (squares < 1e30) & (largest[:, 0] >= 1e-33)
    suits &= np.isfinite(largest[:, 0])
    for n in np.flatnonzero(suits):
        step = largest[n] / 127
        codes = np.rint(result[n] / step)
        lost = codes - keys[n] / step
        turns = np.where(lost > 0, -1.0, 1.0)
        weight = NEAR_WEIGHT * queries.shape[1] / squares[n]
        own = 1 + 2 * turns * lost + weight * np.square(queries[n]).sum(axis=0)
        own[np.abs(codes) >= 127] = np.inf
        for _ in range(TURNS):
            change = own + 2 * weight * turns * ((queries[n] @ lost) @ queries[n])
            best = int(change.argmin())
            if change[best] >= 0:
                break
            codes[best] += turns[best]
            lost[best] += turns[best]
            own[best] = np.inf
        result[n] = codes.astype(np.float32) * np.float32(step[0])
    return result.reshape(k.shape)


def hadamard(x: Array, head_dim: int) -> Array:
    """The Walsh-Hadamard transform of each head, in blocks of the largest power of two in its size.

    The native core's sums and differences in its order. Twice, it is ``x`` times that power.
    """
    size = head_dim & -head_dim
    lanes = [8, 4, 2, 1]
    for apart in [16 << i for i in range(size.bit_length() - 5)] + lanes:
        pairs = x.reshape(len(x), -1, 2, apart)
        first, second = pairs[:, :, 0], pairs[:, :, 1]
        x = np.stack([first + second, first - second], axis=2).reshape(x.shape)
    return x


def normed(x: Array, weight: Array, eps: float) -> Array:
    """x / sqrt(mean(x^2) + eps) * weight along the last axis."""
    mean = np.mean(np.square(x), axis=-1, keepdims=True)
    result: Array = x / np.sqrt(mean + np.float32(eps)) * weight
    return result


def rotated(run: Run, x: Array, node: Node, scale: float) -> Array:
    """Rotary positions on ``x`` of ``[T, heads, head_dim]``."""
    inv_freq, axes = np.asarray(node.attrs["inv_freq"], np.float32), node.attrs["axes"]
    half = len(inv_freq)
    positions = run.given_positions[:, axes] if axes else run.positions[:, None]
    angle = positions.astype(np.float32)[:, None] * inv_freq
    cos, sin = np.cos(angle) * np.float32(scale), np.sin(angle) * np.float32(scale)
    first, second, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)


def attended(run: Run, node: Node, q: Array, k: Array, v: Array) -> Array:
    """Causal attention of flat q, k, v, sequence by sequence."""
    out = np.empty_like(q)
    for span in run.spans:
        rows = slice(span.start, span.stop)
        seen = run.remember(node, span, np.concatenate([k[rows], v[rows]], axis=1), q[rows])
        distance = run.positions[rows, None] - np.arange(len(seen))
        unseen = distance < 0
        if node.attrs.get("blocks"):
            features = run.tokens[rows] < 0
            block = np.cumsum(~features)  # the same for features that no token parts
            together = features[:, None] & features & (block[:, None] == block)
            unseen[:, len(seen) - span.count :] &= ~together
        if node.attrs["window"]:
            unseen |= distance >= node.attrs["window"]
        out[rows] = mixed(node, q[rows], seen, unseen)
    return out


def mixed(node: Node, q: Array, seen: Array, hidden: NDArray[np.bool_]) -> Array:
    """softmax(scale * q . k) v for the keys and values of ``seen``, without those ``hidden``."""
    kv_heads, head_dim = node.attrs["kv_heads"], node.attrs["head_dim"]
    keys, values = np.split(seen.reshape(len(seen), 2 * kv_heads, head_dim), 2, axis=1)
    # [kv_heads, heads per kv head, T, head_dim]: heads that share keys are neighbours.
    queries = q.reshape(len(q), kv_heads, -1, head_dim).transpose(1, 2, 0, 3)
    scores = np.float32(node.attrs["scale"]) * (queries @ keys.transpose(1, 2, 0)[:, None])
    scores = np.where(hidden, np.float32(-np.inf), scores)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    sums: Array = weights @ values.transpose(1, 0, 2)[:, None]
    flat: Array = sums.transpose(2, 0, 1, 3).reshape(len(q), -1)
    return flat


def convolved(run: Run, node: Node, x: Array) -> Array:
    """Causal depthwise convolution, sequence by sequence."""
    kernel, taps = run.weight(node.weights[0]), node.attrs["taps"]
    out = np.empty_like(x)
    for span in run.spans:
        rows = slice(span.start, span.stop)
        seen = run.remember(node, span, x[rows])[-(span.count + taps - 1) :]
        missing = span.count + taps - 1 - len(seen)
        padded = np.pad(seen, ((missing, 0), (0, 0)))
        out[rows] = sum(kernel[:, j] * padded[j : j + span.count] for j in range(taps))
    return out


@kernel
def embed(run: Run, node: Node) -> Array:
    table = run.weight(node.weights[0])
    rows: Array = table[np.maximum(run.tokens, 0)]
    rows[run.tokens < 0] = 0
    return rows


@kernel
def linear(run: Run, node: Node, x: Array | Quantized, residual: Array | None = None) -> Array:
    if isinstance(x, Quantized):
        x = x.value()
    count = matrix_count(len(node.weights), node.attrs)
    products = [x @ run.weight(name).T for name in node.weights[:count]]
    out: Array = np.concatenate(products, axis=1) if len(products) > 1 else products[0]
    if count < len(node.weights):
        out = out + np.concatenate([run.weight(name) for name in node.weights[count:]])
    return out if residual is None else out + residual


@kernel
def add(run: Run, node: Node, a: Array, b: Array) -> Array:
    return a + b


@kernel
def mul(run: Run, node: Node, a: Array, b: Array) -> Array:
    return a * b


@kernel
def silu(run: Run, node: Node, x: Array) -> Array:
    # exp may overflow to infinity for very negative x; the quotient is then the right limit, -0.
    result: Array = x / (1 + np.exp(-x))
    return result


@kernel
def gelu(run: Run, node: Node, x: Array) -> Array:
    # (1 + tanh(u)) / 2 is 1 / (1 + exp(-2u)), which keeps its precision where tanh is near -1.
    slope = np.float32(-1.5957691216057308) + np.float32(-0.0713548162726002) * x * x
    result: Array = x / (1 + np.exp(x * slope))
    return result


@kernel
def scale(run: Run, node: Node, x: Array) -> Array:
    result: Array = np.float32(node.attrs["factor"]) * x
    return result


@kernel
def split(run: Run, node: Node, x: Array) -> Array:
    start = node.attrs["index"] * node.width
    return x[:, start : start + node.width]


@kernel
def rms_norm(run: Run, node: Node, x: Array) -> Array:
    return normed(x, run.weight(node.weights[0]), node.attrs["eps"])


@kernel
def head_norm(run: Run, node: Node, x: Array) -> Array:
    heads = x.reshape(len(x), -1, node.attrs["head_dim"])
    return normed(heads, run.weight(node.weights[0]), node.attrs["eps"]).reshape(x.shape)


@kernel
def rope(run: Run, node: Node, x: Array) -> Array:
    heads = x.reshape(len(x), -1, node.attrs["head_dim"])
    return rotated(run, heads, node, node.attrs["scale"]).reshape(x.shape)


@kernel
def attention(run: Run, node: Node, q: Array, k: Array, v: Array) -> Array:
    return attended(run, node, q, k, v)


@kernel
def causal_conv1d(run: Run, node: Node, x: Array) -> Array:
    return convolved(run, node, x)


@kernel
def output_rows(run: Run, node: Node, x: Array) -> Array:
    return x[run.output_index]


@kernel
def quantize(run: Run, node: Node, x: Array) -> Quantized:
    return quantized(x, node.attrs["group"], run.activations(node))


@kernel
def swiglu(run: Run, node: Node, x: Array) -> Array:
    gate, up = np.split(x, 2, axis=1)
    return silu(run, node, gate) * up


@kernel
def geglu(run: Run, node: Node, x: Array) -> Array:
    gate, up = np.split(x, 2, axis=1)
    return gelu(run, node, gate) * up


@kernel
def geglu_erf(run: Run, node: Node, x: Array) -> Array:
    gate, up = np.split(x, 2, axis=1)
    return gelu_erf(run, node, gate) * up


@kernel
def qkv_attention(run: Run, node: Node, x: Array) -> Array:
    return attended(run, node, *projected(run, node, x))


@kernel
def bidirectional_attention(run: Run, node: Node, x: Array, *kv: Array) -> Array:
    q, k, v = (x, *kv) if kv else projected(run, node, x)
    out = np.empty_like(q)
    for span in run.spans:
        rows = slice(span.start, span.stop)
        apart = np.abs(np.arange(span.count)[:, None] - np.arange(span.count))
        hidden = apart > (node.attrs["reach"] or span.count)
        if (within := node.attrs.get("within")) is not None:
            places = run.given_positions[rows, within]
            window = np.cumsum(np.diff(places, prepend=places[:1]) != 0)
            hidden |= window[:, None] != window
        seen = run.stored(node, np.concatenate([k[rows], v[rows]], axis=1))
        out[rows] = mixed(node, q[rows], seen, hidden)
    return out


def projected(run: Run, node: Node, x: Array) -> tuple[Array, ...]:
    """Flat q, k, v out of one x, normed and rotated."""
    heads, kv_heads, head_dim = (node.attrs[name] for name in ("heads", "kv_heads", "head_dim"))
    by_head = x.reshape(len(x), -1, head_dim)
    q, k, v = np.split(by_head, [heads, heads + kv_heads], axis=1)
    if node.weights:
        q = normed(q, run.weight(node.weights[0]), node.attrs["norm_eps"])
        k = normed(k, run.weight(node.weights[1]), node.attrs["norm_eps"])
    q = rotated(run, q, node, node.attrs["rope_scale"])
    k = rotated(run, k, node, node.attrs["rope_scale"])
    return tuple(part.reshape(len(x), -1) for part in (q, k, v))


@kernel
def experts(run: Run, node: Node, x: Array, logits: Array) -> Array:
    attrs, w1, w2 = node.attrs, *(run.weight(name) for name in node.weights[:2])
    rest = [run.weight(name) for name in node.weights[2:]]
    preference = rest.pop() if attrs["preference"] else np.float32(0)
    if attrs["scoring"] == "softmax":
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
    else:
        likely = 1 / (1 + np.exp(-logits))
    chosen = np.argsort(-(likely + preference), axis=1, kind="stable")[:, : attrs["top_k"]]
    weights = np.take_along_axis(likely, chosen, axis=1)
    if attrs["norm_eps"] is not None:
        weights /= weights.sum(axis=1, keepdims=True) + np.float32(attrs["norm_eps"])
    activation = gelu_erf if attrs["activation"] == "gelu_erf" else swiglu

    def product(rows: Array, matrix: Array, group: int) -> Array:
        given = quantized(rows, group, run.activations(node)).value() if group else rows
        result: Array = given @ matrix.T
        return result

    out, groups = np.zeros_like(x), attrs.get("groups", (0, 0))
    for expert in range(attrs["experts"]):
        rows, rank = np.nonzero(chosen == expert)
        first, second = (np.split(w, attrs["experts"])[expert] for w in (w1, w2))
        inner = activation(run, node, product(x[rows], first, groups[0]))
        scaled = np.float32(attrs["scale"]) * weights[rows, rank, None]
        out[rows] += scaled * product(inner, second, groups[1])
    return out + rest[0] if rest else out


@kernel
def features(run: Run, node: Node) -> Array:
    start = node.attrs["start"]
    rows: Array = run.features[:, start : start + node.width]
    return rows


@kernel
def replace_features(run: Run, node: Node, x: Array) -> Array:
    out: Array = x.copy()
    out[run.tokens < 0] = _token_features(run, node)
    return out


@kernel
def add_features(run: Run, node: Node, x: Array) -> Array:
    out: Array = x.copy()
    out[run.tokens < 0] += _token_features(run, node)
    return out


def _token_features(run: Run, node: Node) -> Array:
    """What the rows that are features take of them."""
    start = node.attrs["start"]
    chosen: Array = run.features[run.feature_rows, start : start + node.width]
    return chosen


@kernel
def im2col(run: Run, node: Node, *frames: Array) -> Array:
    stride, count = node.attrs["stride"], len(frames)
    out = np.empty((len(frames[0]), node.width), np.float32)
    for span in run.spans:
        rows = slice(span.start, span.stop)
        line = np.stack([frame[rows] for frame in frames], axis=1)
        line = np.pad(line.reshape(span.count * count, -1), ((1, 1), (0, 0)))
        windows = [line[first : first + span.count * count : stride] for first in range(3)]
        out[rows] = np.concatenate(windows, axis=1).reshape(span.count, -1)
    return out


@kernel
def gelu_erf(run: Run, node: Node, x: Array) -> Array:
    error = np.array([math.erf(value) for value in x.ravel() / math.sqrt(2)], np.float64)
    result: Array = (x * (1 + error.reshape(x.shape)) / 2).astype(np.float32)
    return result


@kernel
def layer_norm(run: Run, node: Node, x: Array) -> Array:
    centred = x - x.mean(axis=1, keepdims=True)
    weight, *bias = (run.weight(name) for name in node.weights)
    result = normed(centred, weight, node.attrs["eps"])
    return result + bias[0] if bias else result


@kernel
def add_position(run: Run, node: Node, x: Array) -> Array:
    result: Array = x + run.weight(node.weights[0])[run.positions + node.attrs["offset"]]
    return result


@kernel
def add_segment(run: Run, node: Node, x: Array) -> Array:
    table, separator = run.weight(node.weights[0]), node.attrs["separator"]
    segments = np.zeros(len(x), np.int64)
    for span in run.spans if separator is not None else ():
        before = run.tokens[span.start : span.stop - 1] == separator
        segments[span.start + 1 : span.stop] = np.cumsum(before)
    result: Array = x + table[np.minimum(segments, len(table) - 1)]
    return result


@kernel
def store_memory(run: Run, node: Node, k: Array, v: Array) -> Array:
    for span in run.spans:
        rows = slice(span.start, span.stop)
        run.remember(node, span, np.concatenate([k[rows], v[rows]], axis=1))
    return np.empty((len(k), 0), np.float32)


@kernel
def memory_attention(run: Run, node: Node, q: Array, *kv: Array) -> Array:
    if kv:
        store_memory(run, node, *kv)
    out = np.empty_like(q)
    for span in run.spans:
        rows = slice(span.start, span.stop)
        seen = run.recall(node, span)
        out[rows] = mixed(node, q[rows], seen, np.zeros((span.count, len(seen)), bool))
    return out


@kernel
def memory_scores(run: Run, node: Node, q: Array) -> Array:
    head_dim, positions = node.attrs["head_dim"], node.attrs["positions"]
    columns = slice(node.attrs["head"] * head_dim, (node.attrs["head"] + 1) * head_dim)
    out = np.zeros((len(q), positions), np.float32)
    for span in run.spans:
        rows = slice(span.start, span.stop)
        keys = run.recall(node, span)[:positions, columns]
        out[rows, : len(keys)] = (q[rows, columns] * np.float32(node.attrs["scale"])) @ keys.T
    return out


@kernel
def short_conv(run: Run, node: Node, x: Array) -> Array:
    b, c, y = np.split(x, 3, axis=1)
    return c * convolved(run, node, b * y)
