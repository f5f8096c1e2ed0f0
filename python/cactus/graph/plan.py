"""Graph -> Plan: buffers by liveness, and the blob that the native core reads.

The record layouts are those of ``native/src/plan_records.h``; both sides check what they are given.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ..errors import ModelFormatError
from .dtypes import DTYPES
from .node import Graph, Node
from .ops import EXPERT_ACTIVATIONS, FEATURES, SCORINGS, WHOLE_TEXTS, matrix_count

NATIVE_OPS: dict[str, int] = {
    "embed": 1,
    "linear": 2,
    "add": 3,
    "mul": 4,
    "silu": 5,
    "rms_norm": 6,
    "head_norm": 7,
    "rope": 8,
    "attention": 9,
    "causal_conv1d": 10,
    "output_rows": 11,
    "quantize": 12,
    "swiglu": 13,
    "qkv_attention": 14,
    "short_conv": 15,
    "gelu": 16,
    "geglu": 17,
    "scale": 18,
    "features": 32,
    "im2col": 33,
    "gelu_erf": 34,
    "layer_norm": 35,
    "add_position": 36,
    "store_memory": 37,
    "memory_attention": 38,
    "memory_scores": 39,
    "bidirectional_attention": 40,
    "geglu_erf": 41,
    "add_segment": 42,
    "experts": 43,
    "replace_features": 44,
    "add_features": 45,
}
"""Numbers of the ops in the native core. ``split`` is a view and has no step."""

VIEWS = frozenset({"split"})

_ATTENTION = frozenset(
    {
        *("attention", "qkv_attention", "bidirectional_attention"),
        *("memory_attention", "memory_scores"),
    }
)

_IN_PLACE = frozenset(
    {
        *("add", "mul", "scale", "silu", "gelu", "gelu_erf"),
        *("layer_norm", "rms_norm", "add_position", "add_segment"),
        *("replace_features", "add_features"),
    }
)
"""Ops of rows, which may write over their first input: half the memory that passes the caches."""

SLOTS = {"kv": 0, "conv": 1, "memory": 2}
ROWS = {"token": 0, "output": 1, "kept": 2}
"""What a buffer has a row for: a token, a wanted row of output, or a token whose value is kept."""
LEVELS = {"int8": 1, "int12": 2}
"""Of int8 in an activation, by the name of what quantised activations are kept in."""

HEADER = struct.Struct("<8s9I20x")
WEIGHT = struct.Struct("<4I2Q")
BUFFER = struct.Struct("<4I")
SLOT = struct.Struct("<4I")
STEP = struct.Struct("<I3i3Ii4iIi6i4f2I5i4x")


class StoredTensor(Protocol):
    """Where a weight lies in the weights file."""

    @property
    def dtype(self) -> str: ...
    @property
    def rows(self) -> int: ...
    @property
    def cols(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def layout(self) -> str: ...


@dataclass(frozen=True)
class Buffer:
    """Memory for one value per row: ``width`` floats, or codes with their scales.

    ``group`` is the number of columns that share a scale, 0 for floats.
    """

    width: int
    group: int
    output_rows: bool


@dataclass(frozen=True)
class Plan:
    """What the native core runs.

    ``step_names`` are the node names in step order (for profiles); ``places`` tells for each node
    name in which buffer and from which column on its value lies (valid after a step only for
    outputs, and if the plan was built with ``keep``).
    """

    blob: bytes
    step_names: tuple[str, ...]
    step_ops: tuple[str, ...]
    buffers: tuple[Buffer, ...]
    places: Mapping[str, tuple[int, int, int]]


def build(
    graph: Graph,
    tensors: Mapping[str, StoredTensor],
    *,
    vocab_size: int,
    context_length: int,
    keep: bool = False,
) -> Plan:
    """The plan of a graph: of one with a vocabulary the output is the logits, else states.

    ``vocab_size`` is 0 for a graph whose output is states; rows are features where it has an op
    that takes them.
    ``keep`` gives every node a buffer of its own, so that each value can be read after a step.
    Raises ModelFormatError naming a weight that is missing or has another shape than the model.
    """
    return _Builder(graph, tensors, keep).build(vocab_size, context_length)


def with_context(blob: bytes, context_length: int) -> bytes:
    """A plan's blob for another context; nothing else in it depends on that."""
    fields = list(HEADER.unpack_from(blob))
    fields[7] = context_length
    return HEADER.pack(*fields) + blob[HEADER.size :]


def _table(blob: bytes, record: struct.Struct) -> slice:
    """Where a plan's blob has the table of such records."""
    records = (WEIGHT, BUFFER, SLOT, STEP)
    sizes = [n * each.size for n, each in zip(HEADER.unpack_from(blob)[1:5], records, strict=True)]
    begin = HEADER.size + sum(sizes[: records.index(record)])
    return slice(begin, begin + sizes[records.index(record)])


def takes_whole_texts(blob: bytes) -> bool:
    """Whether a plan's rows see all of their text, which one step must then hold."""
    steps = STEP.iter_unpack(blob[_table(blob, STEP)])
    return any(step[0] == NATIVE_OPS[WHOLE_TEXTS] for step in steps)


def matrix_types(blob: bytes) -> frozenset[str]:
    """The types ("q4", "f32", ...) of the matrices that a plan multiplies."""
    names = {number: name for name, number in DTYPES.items()}
    weights = WEIGHT.iter_unpack(blob[_table(blob, WEIGHT)])
    return frozenset(names[dtype] for dtype, _, _, tiled, *_ in weights if tiled)


def with_int8_kv(blob: bytes, kinds: Collection[str] = ("kv", "memory")) -> bytes:
    """A plan's blob that keeps keys and values in int8, with an f32 scale per head and position.

    As ``build`` makes it they are kept in f16; nothing else in it depends on that. ``kinds``: of
    slots, in which they are.
    """
    return _with_kv(blob, kinds, 1)


def with_f16_kv(blob: bytes) -> bytes:
    """A plan's blob that keeps keys and values of tokens in f16; memory stays as it is."""
    return _with_kv(blob, ("kv",), 0)


def _with_kv(blob: bytes, kinds: Collection[str], int8: int) -> bytes:
    at, numbers = _table(blob, SLOT), {SLOTS[kind] for kind in kinds}
    slots = b"".join(
        SLOT.pack(kind, a, b, int8 if kind in numbers else before)
        for kind, a, b, before in SLOT.iter_unpack(blob[at])
    )
    return blob[: at.start] + slots + blob[at.stop :]


def with_int8_activations(blob: bytes) -> bytes:
    """A plan's blob whose quantised activations have 8 bits, but for those of the wanted rows.

    As ``build`` makes it they have 12; nothing else in it depends on that. Of a prompt one row is
    wanted, which takes no time, and the choice of a token suffers most from what is rounded last.
    """
    at, steps_at = _table(blob, BUFFER), _table(blob, STEP)
    given = list(BUFFER.iter_unpack(blob[at]))
    buffers = b"".join(
        BUFFER.pack(
            group, width, rows, levels if rows == ROWS["output"] else min(levels, LEVELS["int8"])
        )
        for group, width, rows, levels in given
    )
    steps = [list(step) for step in STEP.iter_unpack(blob[steps_at])]
    for step in steps:
        # Experts quantise what no buffer holds; their last integer says how.
        if step[0] == NATIVE_OPS["experts"] and given[step[7]][2] != ROWS["output"]:
            step[19] = LEVELS["int8"]
    packed = b"".join(STEP.pack(*step) for step in steps)
    between = blob[at.stop : steps_at.start]
    return blob[: at.start] + buffers + between + packed + blob[steps_at.stop :]


@dataclass
class _Builder:
    graph: Graph
    tensors: Mapping[str, StoredTensor]
    keep: bool
    buffers: list[Buffer] = field(default_factory=list)
    free: list[int] = field(default_factory=list)
    place: dict[Node, tuple[int, int]] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)
    constants: list[float] = field(default_factory=list)
    constant_at: dict[tuple[float, ...], int] = field(default_factory=dict)

    def build(self, vocab_size: int, context_length: int) -> Plan:
        nodes = self.graph.nodes
        # A view keeps the value that it looks into alive.
        source: dict[Node, Node] = {}
        for node in nodes:
            source[node] = source[node.inputs[0]] if node.op in VIEWS else node
        last = {source[node]: i for i, node in enumerate(nodes)}
        for i, node in enumerate(nodes):
            for given in node.inputs:
                last[source[given]] = max(last[source[given]], i)
        for node in self.graph.outputs:
            last[source[node]] = len(nodes)
        slots = {slot.name: i for i, slot in enumerate(self.graph.slots)}

        steps: list[bytes] = []
        names: list[str] = []
        ops: list[str] = []
        selected = self.graph.selected()
        for i, node in enumerate(nodes):
            if node.op in VIEWS:
                buffer, column = self.place[node.inputs[0]]
                self.place[node] = (buffer, column + node.attrs["index"] * node.width)
                continue
            buffer = self._allocate(node, node in selected, last, source, i) if node.width else -1
            self.place[node] = (buffer, 0)
            steps.append(self._step(node, slots))
            names.append(node.name)
            ops.append(node.op)
            if not self.keep:
                dying = {source[given] for given in node.inputs if last[source[given]] == i}
                out = self.place[node][0]
                # What is written over lives on as the result's buffer.
                self.free += {self.place[given][0] for given in dying} - {out}
        return Plan(
            self._blob(steps, vocab_size, context_length),
            tuple(names),
            tuple(ops),
            tuple(self.buffers),
            {node.name: (*self.place[node], node.width) for node in nodes},
        )

    def _allocate(
        self, node: Node, selected: bool, last: dict[Node, int], source: dict[Node, Node], i: int
    ) -> int:
        group = node.attrs.get("group" if node.op == "quantize" else "quantize") or 0
        wanted = Buffer(node.width, group, selected)
        if not self.keep:
            residual = node.op == "linear" and node.attrs.get("residual")
            if residual or node.op in _IN_PLACE:
                given = node.inputs[1 if residual else 0]
                buffer, column = self.place[given]
                same = self.buffers[buffer] == wanted and column == 0
                if same and last[source[given]] == i:
                    return buffer
            for index in self.free:
                if self.buffers[index] == wanted:
                    self.free.remove(index)
                    return index
        self.buffers.append(wanted)
        return len(self.buffers) - 1

    def _weight(self, name: str) -> int:
        if name not in self.tensors:
            raise ModelFormatError(f"weights: {name} is missing; convert the model again")
        tensor, shape = self.tensors[name], self.graph.weights[name]
        rows, cols = (1, *shape) if len(shape) == 1 else shape
        if (tensor.rows, tensor.cols) != (rows, cols):
            raise ModelFormatError(
                f"weights: {name} has {tensor.rows} x {tensor.cols} values, "
                f"the model's config wants {rows} x {cols}"
            )
        return self.weights.setdefault(name, len(self.weights))

    def _constants(self, values: tuple[float, ...]) -> tuple[int, int]:
        if values not in self.constant_at:
            self.constant_at[values] = len(self.constants)
            self.constants += values
        return self.constant_at[values], len(values)

    def _step(self, node: Node, slots: Mapping[str, int]) -> bytes:
        attrs = node.attrs
        places = [self.place[given] for given in node.inputs]
        inputs = [buffer for buffer, _ in places] + [-1] * (3 - len(places))
        columns = [column for _, column in places] + [0] * (3 - len(places))
        experts = node.op == "experts"
        count = 2 if experts else matrix_count(len(node.weights), attrs)
        weights = [self._weight(name) for name in node.weights[:count]]
        biases = [self._weight(name) for name in node.weights[count:]]
        if experts and not attrs["bias"]:
            biases.insert(0, -1)
        keys = ("heads", "kv_heads", "head_dim", "taps", "window")
        integers = [*(attrs.get(key, 0) for key in keys), 0]
        attends = node.op in _ATTENTION
        if node.op == "im2col":
            integers[:2] = attrs["taps"], attrs["stride"]
        if node.op == "memory_scores":
            integers[0] = attrs["head"]
        if node.op == "bidirectional_attention":
            within = attrs.get("within")
            integers[4:6] = attrs["reach"], 0 if within is None else within + 1
        elif attends:
            integers[5] = int(attrs.get("blocks", False))
        if node.op == "add_position":
            integers[0] = attrs["offset"]
        if node.op in FEATURES:
            integers[0] = attrs["start"]
        if node.op == "add_segment":
            integers[0] = -1 if attrs["separator"] is None else attrs["separator"]
        first = attrs["scale"] if attends else attrs.get("eps", attrs.get("factor", 0.0))
        rotary_scale = attrs.get("rope_scale", 1.0) if attends else attrs.get("scale", 1.0)
        floats = [first, rotary_scale, attrs.get("norm_eps") or 0.0, 0.0]
        if experts:
            normalized = attrs["norm_eps"] is not None
            integers = [
                *(attrs["experts"], attrs["top_k"], SCORINGS.index(attrs["scoring"])),
                *(int(normalized), EXPERT_ACTIVATIONS.index(attrs["activation"])),
                LEVELS["int12"],
            ]
            floats = [attrs["scale"], attrs["norm_eps"] or 0.0, 0.0, 0.0]
        constant, constants = self._constants(attrs["inv_freq"]) if "inv_freq" in attrs else (0, 0)
        axes = self._constants(tuple(map(float, attrs["axes"])))[0] if attrs.get("axes") else -1
        return STEP.pack(
            NATIVE_OPS[node.op],
            *inputs,
            *columns,
            self.place[node][0],
            *(weights + [-1] * (4 - len(weights))),
            len(weights),
            slots[node.state] if node.state else -1,
            *integers,
            *floats,
            constant,
            constants,
            *(biases + [-1] * (4 - len(biases))),
            axes,
        )

    def _blob(self, steps: list[bytes], vocab_size: int, context_length: int) -> bytes:
        header = HEADER.pack(
            b"CACTPLN1",
            len(self.weights),
            len(self.buffers),
            len(self.graph.slots),
            len(steps),
            len(self.constants),
            vocab_size,
            context_length,
            self.place[self.graph.outputs[0]][0],
            self.graph.features,
        )
        parts = [header]
        for name in self.weights:
            t = self.tensors[name]
            tiled = int(t.layout == "tile")
            parts.append(WEIGHT.pack(DTYPES[t.dtype], t.rows, t.cols, tiled, t.offset, t.nbytes))
        read = {self.place[node][0] for node in self.graph.outputs[1:]}
        for index, buffer in enumerate(self.buffers):
            levels = LEVELS["int12"] if buffer.group else 0
            kept = self.keep or index in read
            rows = ROWS["output"] if buffer.output_rows else ROWS["kept" if kept else "token"]
            parts.append(BUFFER.pack(buffer.group, buffer.width, rows, levels))
        for slot in self.graph.slots:
            heads, columns = (slot.kv_heads, slot.head_dim), (slot.width, slot.taps)
            sizes = columns if slot.kind == "conv" else heads
            parts.append(SLOT.pack(SLOTS[slot.kind], *sizes, 0))
        constants = struct.pack(f"<{len(self.constants)}f", *self.constants)
        return b"".join([*parts, *steps, constants])
