"""The NumPy interpreter: runs any Graph, with the usual interface of programs and sessions.

It is the oracle of tests and tools, not a way to serve a model: correctness and reading come first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cactus.calls.stop_flag import StopFlag

from ..errors import (
    Cancelled,
    ContextLengthExceeded,
    InvalidRequest,
    ModelClosed,
    ModelFormatError,
    NonFiniteLogits,
)
from .node import Graph, Node, Slot
from .ops import WHOLE_TEXTS
from .reference_ops import (
    KERNELS,
    Array,
    Quantized,
    Span,
    hadamard,
    half_rounded,
    int8_keys,
    int8_rounded,
)
from .step import Output, Row

__all__ = ["KERNELS", "ReferenceProgram", "ReferenceSampler", "ReferenceSession", "Snapshot"]


class _History:
    """Rows of a slot by position, from 0 on; how many of them count is the session's ``length``.

    All rows are kept, of a convolution too, so that the reference can go back to any position.
    """

    def __init__(self, width: int, dtype: type[np.floating[Any]], int8_group: int = 0) -> None:
        self.rows = np.zeros((0, width), dtype)
        self.int8_group = int8_group

    def write(self, start: int, rows: Array, near: Array | None = None) -> None:
        needed = start + len(rows)
        if needed > len(self.rows):
            grown = np.zeros((max(needed, 2 * len(self.rows)), rows.shape[1]), self.rows.dtype)
            grown[:start] = self.rows[:start]
            self.rows = grown
        if self.rows.dtype == np.float16:
            rows = half_rounded(rows)
        if self.int8_group:
            keys, values = np.split(rows, 2, axis=1)
            size = np.float32(self.int8_group & -self.int8_group)
            mixed = hadamard(keys, self.int8_group)
            if near is None:
                rounded = int8_rounded(mixed, self.int8_group)
            else:
                rounded = int8_keys(mixed, hadamard(near, self.int8_group), self.int8_group)
            keys = hadamard(rounded, self.int8_group) / size
            rows = np.concatenate([keys, int8_rounded(values, self.int8_group)], axis=1)
        self.rows[start:needed] = rows

    def copy(self, length: int) -> _History:
        twin = _History(self.rows.shape[1], self.rows.dtype.type, self.int8_group)
        twin.rows = self.rows[:length].copy()
        return twin


@dataclass(frozen=True)
class Snapshot:
    """A session's state at one moment; it does not change afterwards."""

    program: ReferenceProgram
    length: int
    memory_length: int
    slots: dict[str, _History]

    def close(self) -> None:
        """Nothing to release; here for the sake of the native one."""


class ReferenceSession:
    """The state of one conversation: a history for each slot of the graph, and how long it is."""

    def __init__(self, program: ReferenceProgram) -> None:
        self.program = program
        self.length = self.memory_length = 0
        self._slots = {slot.name: program.history(slot) for slot in program.graph.slots}
        self._memories = {slot.name for slot in program.graph.slots if slot.kind == "memory"}
        self._closed = False

    def history(self, slot: str) -> _History:
        """The rows kept for that slot; ModelClosed after ``close``."""
        self._check()
        return self._slots[slot]

    def truncate(self, length: int) -> int:
        """Forget everything from position ``length`` on; the length reached (here always that)."""
        self._check()
        if not 0 <= length <= self.length:
            raise InvalidRequest(f"truncate: want a length from 0 to {self.length}, got {length}")
        self.length = length
        return length

    def fork(self) -> ReferenceSession:
        """A session of its own that continues from the same state."""
        twin = ReferenceSession(self.program)
        twin.restore(self.snapshot())
        return twin

    def snapshot(self) -> Snapshot:
        """A copy of the state, for ``restore`` in any session of the same program."""
        self._check()
        slots = {name: history.copy(self._length(name)) for name, history in self._slots.items()}
        return Snapshot(self.program, self.length, self.memory_length, slots)

    def restore(self, snapshot: Snapshot) -> None:
        """Take on the state of ``snapshot``; InvalidRequest if it is another program's."""
        self._check()
        if snapshot.program is not self.program:
            raise InvalidRequest("restore: the snapshot was taken from another program")
        self.length, self.memory_length = snapshot.length, snapshot.memory_length
        self._slots = {
            name: history.copy(self._length(name)) for name, history in snapshot.slots.items()
        }

    def _length(self, slot: str) -> int:
        return self.memory_length if slot in self._memories else self.length

    def close(self) -> None:
        """Drop the state; any later use raises ModelClosed."""
        self._closed = True
        self._slots.clear()

    def _check(self) -> None:
        if self._closed:
            raise ModelClosed("the session has been closed")


class ReferenceSampler:
    """The greedy part of the native sampler: biases, a mask of allowed tokens, then argmax."""

    def __init__(
        self,
        temperature: float = 0.0,
        logit_bias: Mapping[int, float] | None = None,
        repetition_penalty: float = 1.0,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        **cuts: Any,
    ) -> None:
        # The cuts (top_k, top_p, min_p), the seed and what penalties see change no greedy choice.
        penalties = (repetition_penalty, presence_penalty, frequency_penalty)
        if temperature != 0 or penalties != (1.0, 0.0, 0.0):
            raise InvalidRequest("the reference samples at temperature 0 and without penalties")
        self.logit_bias = dict(logit_bias or {})
        self._mask: NDArray[np.uint32] | None = None

    def allow(self, mask: NDArray[np.uint32] | None) -> None:
        """The tokens that the next choice may be, bit t % 32 of word t // 32; None: all."""
        self._mask = mask

    def choose(self, logits: Array) -> int:
        """The token: the largest logit after biases among those that are allowed."""
        logits = logits.copy()
        for token, bias in self.logit_bias.items():
            logits[token] += bias
        mask, self._mask = self._mask, None
        if mask is not None:
            bits = np.unpackbits(mask.view(np.uint8), bitorder="little", count=len(logits))
            logits[bits == 0] = -np.inf
        return int(np.argmax(logits))

    def close(self) -> None:
        """Nothing to release."""


class _Step:
    """One step in progress (the ``Run`` that the kernels see)."""

    def __init__(self, program: ReferenceProgram, rows: Sequence[Row]) -> None:
        self.program = program
        self.spans: list[Span] = []
        wanted: list[int] = []
        count = 0
        for row in rows:
            stop = count + row.count
            first = 0 if program.starts_anew else row.session.length
            self.spans.append(Span(row.session, count, stop, first))
            first = {"last": stop - 1, "none": stop}.get(row.outputs, count)
            wanted.extend(range(first, count + 1 if row.outputs == "first" else stop))
            count = stop
        self.tokens = np.array([token for row in rows for token in row.tokens], np.int64)
        given = [row.features for row in rows if row.features is not None]
        none = np.zeros((0, program.graph.features), np.float32)
        self.features = np.concatenate([none, *given])
        # Of the rows that are features: which ones of all that the step has.
        begin, chosen = 0, [np.zeros(0, np.int64)]
        for row in rows:
            chosen.append(begin - 1 - np.array([t for t in row.tokens if t < 0], np.int64))
            begin += 0 if row.features is None else len(row.features)
        self.feature_rows = np.concatenate(chosen)
        own = [s.first + np.arange(s.count) for s in self.spans]
        self.positions = np.concatenate(own)
        axes = program.graph.axes
        self.given_positions = np.concatenate(
            [
                np.repeat(at[:, None], axes, axis=1) if row.positions is None else row.positions
                for row, at in zip(rows, own, strict=True)
            ]
        ).astype(np.int32)
        self.output_index = np.array(wanted, np.int64)

    def activations(self, node: Node) -> str:
        return "int12" if node in self.program.selected else self.program.activations

    def weight(self, name: str) -> Array:
        return self.program.tensors[name]

    def remember(self, node: Node, span: Span, rows: Array, near: Array | None = None) -> Array:
        assert node.state is not None
        history = span.session.history(node.state)
        history.write(span.first, rows, near)
        seen: Array = history.rows[: span.first + span.count].astype(np.float32)
        return seen

    def recall(self, node: Node, span: Span) -> Array:
        assert node.state is not None
        history = span.session.history(node.state)
        length = span.count if self.program.remembers else span.session.memory_length
        seen: Array = history.rows[:length].astype(np.float32)
        return seen

    def stored(self, node: Node, rows: Array) -> Array:
        return rows if self.program.kv_dtype == "f32" else half_rounded(rows)


class ReferenceProgram:
    """A graph and its weights, ready to run.

    ``tensors`` holds every weight of the graph under its checkpoint name, in f32 and in the graph's
    shape; a missing or misshapen one raises ModelFormatError. ``chunk`` is the most rows that one
    step takes. ``kv_dtype`` "f16" or "int8" rounds keys and values as the native core stores
    them; ``activations`` "int12" or "int8" is what quantised ones have that are no
    wanted rows. ``vocab_size`` is 0 where the output is states; ``shares`` is the program whose
    sessions this one works on, too.
    """

    def __init__(
        self,
        graph: Graph,
        tensors: Mapping[str, NDArray[Any]],
        *,
        context_length: int = 1 << 20,
        chunk: int = 512,
        kv_dtype: Literal["f32", "f16", "int8"] = "f32",
        activations: Literal["int12", "int8"] = "int12",
        vocab_size: int | None = None,
        shares: ReferenceProgram | None = None,
    ) -> None:
        self.graph = graph
        self.context_length, self.chunk = context_length, chunk
        self.vocab_size = graph.outputs[0].width if vocab_size is None else vocab_size
        ops = {node.op for node in graph.nodes}
        whole, self.of_features = WHOLE_TEXTS in ops, "features" in ops
        self.remembers = self.of_features and any(node.state for node in graph.nodes)
        self.keeps_nothing = (whole or self.of_features) and not self.remembers
        self.starts_anew = whole or self.of_features
        self._home = shares or self
        embeddings = [node.weights[0] for node in graph.nodes if node.op == "embed"]
        self._token_limit = min((graph.weights[name][0] for name in embeddings), default=0)
        self.dump: dict[str, Array] = {}
        self.kv_dtype = kv_dtype
        self.activations = activations
        self.selected = graph.selected()
        self.tensors: dict[str, Array] = {}
        for name, shape in graph.weights.items():
            if name not in tensors:
                raise ModelFormatError(f"tensor {name} {list(shape)} is missing")
            if tensors[name].shape != shape:
                got = list(tensors[name].shape)
                raise ModelFormatError(f"tensor {name}: want {list(shape)}, got {got}")
            self.tensors[name] = np.asarray(tensors[name], np.float32)

    def session(self) -> ReferenceSession:
        """A new, empty session."""
        return ReferenceSession(self._home)

    def history(self, slot: Slot) -> _History:
        """An empty history for a slot; a row is k and v, or one input row of a convolution."""
        if slot.kind != "conv":
            dtype = np.float16 if self.kv_dtype == "f16" else np.float32
            group = slot.head_dim if self.kv_dtype == "int8" else 0
            return _History(2 * slot.kv_heads * slot.head_dim, dtype, group)
        return _History(slot.width, np.float32)

    def step(
        self, rows: Sequence[Row], *, want_logits: bool = False, stop: StopFlag | None = None
    ) -> list[Output]:
        """Process new tokens of one or more sessions; an Output for each row asked for, in order.

        ``dump`` then has the value of every node by name. Raises InvalidRequest,
        ContextLengthExceeded or NonFiniteLogits, and Cancelled once ``stop`` is set; the sessions
        are then as they were.
        """
        self._check(rows)
        step = _Step(self, rows)
        values: dict[Node, Array | Quantized] = {}
        with np.errstate(all="ignore"):
            for node in self.graph.nodes:
                if stop:
                    raise Cancelled("the step was stopped")
                inputs = [values[source] for source in node.inputs]
                values[node] = KERNELS[node.op](step, node, *inputs)
        self.dump = {
            node.name: value.value() if isinstance(value, Quantized) else value
            for node, value in values.items()
        }
        logits = self.dump[self.graph.outputs[0].name]
        if not np.isfinite(logits).all():
            raise NonFiniteLogits("the output is not finite: damaged weights or an overflow")
        for span in step.spans:
            if self.remembers:
                span.session.length, span.session.memory_length = 0, span.count
            elif not self.keeps_nothing:
                span.session.length = span.first + span.count
        if self.vocab_size == 0:
            given = _states(logits, rows)
            return [Output(0, 0.0, 0.0, states if want_logits else None) for states in given]
        owners = [row for row in rows for _ in range(row.output_count)]
        return [
            _output(*pair, want_logits=want_logits) for pair in zip(logits, owners, strict=True)
        ]

    def close(self) -> None:
        """Nothing to release; here for the sake of the native one."""

    def _check(self, rows: Sequence[Row]) -> None:
        total = sum(row.count for row in rows)
        if not rows or not 1 <= total <= self.chunk:
            raise InvalidRequest(f"step: want 1 to {self.chunk} tokens in all, got {total}")
        if len({id(row.session) for row in rows}) < len(rows):
            raise InvalidRequest("step: one session is there twice")
        for row in rows:
            end = (0 if self.starts_anew else row.session.length) + row.count
            if row.count == 0:
                raise InvalidRequest("step: a row has no tokens")
            if row.outputs == "sum" and self.vocab_size:
                raise InvalidRequest("step: a row wants a sum of logits")
            if row.session.program is not self._home:
                raise InvalidRequest("step: a session belongs to another program")
            if end > self.context_length:
                raise ContextLengthExceeded(
                    f"{end} tokens do not fit the context of {self.context_length}",
                    prompt_tokens=end,
                    limit=self.context_length,
                )
            self._check_input(row)

    def _check_input(self, row: Row) -> None:
        for name, given, count, width in (
            ("features", row.features, None if row.tokens else row.count, self.graph.features),
            ("positions", row.positions, row.count, self.graph.axes),
        ):
            if given is None:
                wanted = width and name == "features" and self.of_features
            else:
                wanted = given.shape != (len(given) if count is None else count, width) or not width
            if wanted:
                raise InvalidRequest(f"step: a row's {name} must have {width} columns")
        lowest = 0 if row.features is None else -len(row.features)
        bad = [token for token in row.tokens if not lowest <= token < self._token_limit]
        if bad:
            last = self._token_limit - 1
            raise InvalidRequest(f"step: want token ids from {lowest} to {last}, got {bad[0]}")


def _states(states: Array, rows: Sequence[Row]) -> Iterator[Array]:
    """What each Output of the rows gets of the states that they asked for."""
    for row in rows:
        count = row.count if row.outputs == "sum" else row.output_count
        own, states = states[:count], states[count:]
        yield from [own.sum(axis=0)] if row.outputs == "sum" else own


def _output(logits: Array, row: Row, *, want_logits: bool) -> Output:
    token = int(np.argmax(logits)) if row.sampler is None else row.sampler.choose(logits)
    shifted = logits.astype(np.float64) - float(logits.max())
    log_probabilities = shifted - np.log(np.exp(shifted).sum())
    entropy = -float(np.sum(np.exp(log_probabilities) * log_probabilities))
    likeliest = np.argsort(-logits, kind="stable")[: row.top_logprobs] if row.top_logprobs else ()
    return Output(
        token,
        float(log_probabilities[token]),
        entropy,
        logits if want_logits else None,
        tuple((int(each), float(log_probabilities[each])) for each in likeliest),
    )
