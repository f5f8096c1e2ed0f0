"""Cases for every op: one table, used by the op tests and by the op benchmarks.

A case is data: which op, on what widths, with what attributes, over what batch. ``build`` turns it
into a graph of that one op, and ``run_reference`` computes it; a native runner takes the same Case.
Inputs that are activations come from ``embed`` nodes: the values of input i of row t are row
``tokens[t]`` of an embedding matrix ``input<i>``. For the ops of encoders the same rows are
features, given from outside.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.graph.node import Graph, Node, Slot
from cactus.graph.ops import GROUPS, OPS, verify
from cactus.graph.reference import ReferenceProgram
from cactus.graph.step import Row

Tensors = dict[str, NDArray[np.float32]]
Chunks = tuple[tuple[int, ...], ...]

VOCABULARY = 48
"""Rows of the embedding matrices that feed a case."""


WHOLE = frozenset({"bidirectional_attention"})
"""Ops whose rows see all of their text, which is a sequence's rows of one step."""

FEATURED = frozenset({"features", "im2col", "memory_attention", "memory_scores", "store_memory"})
"""Ops of encoders: their case's inputs, of one width, are parts of the features of a row."""


AMONG_TOKENS = frozenset({"replace_features", "add_features"})
"""Ops of rows of features among tokens: those are the ones whose token is a multiple of 3."""


@dataclass(frozen=True, eq=False)
class Case:
    """One op on one size.

    ``inputs`` are widths, ``weights`` shapes. ``chunks[s]`` says how many tokens sequence s gets in
    each step: ((1,),) is one decode row, ((5,), (2,)) a ragged batch, ((3, 4),) one sequence in two
    steps. ``outputs`` is what output_rows keeps.
    """

    op: str
    inputs: tuple[int, ...]
    weights: tuple[tuple[int, ...], ...] = ()
    attrs: dict[str, Any] = field(default_factory=dict)
    chunks: Chunks = ((5,),)
    outputs: str = "all"

    @property
    def id(self) -> str:
        """A short name for pytest and benchmark tables."""
        shape = "x".join(str(width) for width in self.inputs) or "none"
        rows = "+".join("/".join(str(n) for n in chunks) for chunks in self.chunks)
        weights = ",".join("x".join(map(str, weight)) for weight in self.weights)
        flags = [str(key) for key, value in self.attrs.items() if value is True]
        extra = [str(len(self.attrs["inv_freq"]))] if "inv_freq" in self.attrs else []
        if self.attrs.get("axes"):
            extra.append("axes" + "".join(map(str, self.attrs["axes"])))
        if self.attrs.get("within") is not None:
            extra.append(f"within{self.attrs['within']}")
        sees = ("window", "reach", "offset", "separator", "start")
        extra += [f"{key}{self.attrs[key]}" for key in sees if self.attrs.get(key)]
        named = ("group", "stride", "head", "positions")
        extra += [f"{key}{self.attrs[key]}" for key in named if key in self.attrs]
        extra += (
            [f"part{self.attrs['index']}of{self.attrs['parts']}"] if "parts" in self.attrs else []
        )
        tags = [part for part in (shape, weights, f"rows{rows}", *flags, *extra) if part]
        return "-".join([*tags, self.outputs] if self.op == "output_rows" else tags)

    @property
    def among_tokens(self) -> bool:
        """Whether some of its rows are features."""
        return self.op in AMONG_TOKENS or bool(self.attrs.get("blocks"))

    @property
    def seed(self) -> int:
        """Differs from case to case, stays from run to run."""
        return zlib.crc32(f"{self.op} {self.id}".encode())


ROWS: tuple[Chunks, ...] = (
    ((1,),),
    ((7,),),
    ((33,),),
    ((1,), (1,), (1,)),
    ((5,), (1,), (12,)),
)
"""Batches for ops that treat every row alike."""

SEQUENCES: tuple[Chunks, ...] = (
    ((1,),),
    ((17,),),
    ((1, 1, 1, 1, 1),),
    ((9, 1, 4),),
    ((5, 2), (1, 1), (12, 3)),
    ((70,),),
)
"""Batches for ops with state: several steps, several sequences."""

_INV_FREQ = tuple(float(np.float32(10_000.0 ** (-i / 16))) for i in range(16))


def _elementwise(op: str, inputs: int) -> list[Case]:
    widths = (16, 32, 48, 576, 1536)
    return [Case(op, (w,) * inputs, chunks=rows) for w in widths for rows in ROWS]


def _linear() -> list[Case]:
    plain = [
        Case("linear", (cols,), ((rows, cols),), {}, chunks)
        for cols, rows in ((16, 16), (32, 48), (64, 304), (160, 17), (576, 192), (48, 1))
        for chunks in ROWS
    ]
    merged = [
        Case("linear", (64,), ((64, 64), (32, 64), (32, 64)), {}, ((7,),)),
        Case("linear", (96,), ((16, 96), (16, 96), (16, 96), (48, 96)), {}, ((1,),)),
        Case("linear", (64,), ((96, 64), (96, 64)), {}, ((33,),)),
        Case("linear", (640,), ((32, 640),), {}, ((141,),)),
        # More columns than a matrix unit takes in one pass, and a third that is longer.
        Case("linear", (1664,), ((32, 1664),), {}, ((45,),)),
    ]
    residual = [
        Case("linear", (96, 64), ((64, 96),), {"residual": True}, chunks) for chunks in ROWS
    ]
    residual.append(Case("linear", (128, 48), ((48, 128),), {"residual": True}, ((7,),)))
    biased = [Case("linear", (64,), ((48, 64), (48,)), {"bias": True}, chunks) for chunks in ROWS]
    three = ((64, 192), (32, 192), (32, 192), (64,), (32,), (32,))
    biased.append(Case("linear", (192,), three, {"bias": True}, ((15,),)))
    both = {"residual": True, "bias": True}
    biased.append(Case("linear", (64, 32), ((32, 64), (32,)), both, ((14,),)))
    return plain + merged + residual + biased


def _attention(op: str) -> list[Case]:
    cases = []
    for heads, kv_heads, head_dim, window in (
        *((4, 2, 16, 0), (3, 1, 64, 0), (2, 2, 32, 0), (9, 3, 64, 0), (1, 1, 48, 0)),
        *((4, 1, 256, 16), (2, 1, 16, 1), (3, 1, 32, 7)),
    ):
        attrs = {
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
            "scale": head_dim**-0.5,
            "window": window,
        }
        widths = (heads * head_dim, kv_heads * head_dim, kv_heads * head_dim)
        for chunks in SEQUENCES:
            if op == "attention":
                cases.append(Case(op, widths, (), attrs, chunks))
                continue
            rotary = {"inv_freq": _INV_FREQ[: head_dim // 2], "axes": (), "rope_scale": 1.0}
            norm: tuple[dict[str, Any], tuple[tuple[int, ...], ...]]
            for norm in ({"norm_eps": None}, ()), ({"norm_eps": 1e-5}, ((head_dim,), (head_dim,))):
                cases.append(
                    Case(op, (sum(widths),), norm[1], {**attrs, **rotary, **norm[0]}, chunks)
                )
        among: Chunks = ((70,), (1,), (12,))
        if op == "attention":
            cases.append(Case(op, widths, (), {**attrs, "blocks": True}, among))
        if op == "qkv_attention":
            still = {"inv_freq": (), "axes": (), "rope_scale": 1.0, "norm_eps": None}
            cases.append(Case(op, (sum(widths),), (), {**attrs, **still}, ((9, 1, 4),)))
            turned = {**rotary, "axes": _axes(head_dim // 2), "norm_eps": None}
            cases.append(Case(op, (sum(widths),), (), {**attrs, **turned}, ((9, 1, 4), (3,))))
            blocks = {**attrs, **still, "blocks": True}
            cases.append(Case(op, (sum(widths),), (), blocks, among))
    # More queries of a key than it is rounded for in int8.
    attrs = {"heads": 10, "kv_heads": 1, "head_dim": 32, "scale": 0.2, "window": 0}
    if op == "attention":
        cases.append(Case(op, (320, 32, 32), (), attrs, ((9, 1, 4), (70,))))
    # Windows that begin in another page than the row, in a chunk where others begin earlier.
    for window, chunks in ((40, ((250, 50, 1), (1, 200, 30))), (300, ((250, 250, 101, 1), (2,)))):
        attrs = {"heads": 2, "kv_heads": 1, "head_dim": 16, "scale": 0.25, "window": window}
        if op == "attention":
            cases.append(Case(op, (32, 16, 16), (), attrs, chunks))
        else:
            rest = {"inv_freq": _INV_FREQ[:8], "axes": (), "rope_scale": 1.0, "norm_eps": None}
            cases.append(Case(op, (64,), (), {**attrs, **rest}, chunks))
    return cases


def _axes(count: int) -> tuple[int, ...]:
    """Three axes, which take turns, but for the last frequencies."""
    return tuple(i % 3 if i < count - 2 else 0 for i in range(min(count, len(_INV_FREQ))))


def _bidirectional() -> list[Case]:
    cases = []
    ragged: Chunks = ((5,), (1,), (40,))
    for heads, kv_heads, head_dim, reach, rotary, norms, chunks in (
        *((2, 2, 16, 0, 8, 0, ((1,),)), (3, 3, 64, 0, 0, 0, ragged), (4, 2, 32, 3, 16, 1, ragged)),
        *((2, 1, 16, 64, 4, 0, ((5,), (300,), (2,))), (1, 1, 48, 0, 8, 1, ((300,), (157,)))),
        *((3, 1, 16, 1, 0, 0, ((490,), (7,))), (2, 2, 32, 300, 16, 0, ((490,), (17,)))),
    ):
        keys = kv_heads * head_dim
        attrs = {
            **{"heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "reach": reach},
            **{"scale": head_dim**-0.5, "inv_freq": _INV_FREQ[:rotary], "rope_scale": 1.0},
            **{"norm_eps": 1e-6 if norms else None, "axes": ()},
        }
        op, weights = "bidirectional_attention", ((head_dim,), (head_dim,)) if norms else ()
        cases.append(Case(op, (heads * head_dim + 2 * keys,), weights, attrs, chunks))
        if rotary:
            turned = {**attrs, "axes": _axes(rotary)}
            cases.append(Case(op, (heads * head_dim + 2 * keys,), weights, turned, chunks))
            windows = {**turned, "within": 3}
            cases.append(Case(op, (heads * head_dim + 2 * keys,), weights, windows, chunks))
        if not rotary and not norms:
            cases.append(Case(op, (heads * head_dim, keys, keys), (), attrs, chunks))
    return cases


def _memory(op: str) -> list[Case]:
    return [
        Case(
            op,
            (heads * dim,) * 3,
            (),
            {"heads": heads, "kv_heads": heads, "head_dim": dim, "scale": dim**-0.5},
            chunks,
        )
        for heads, dim in ((2, 16), (3, 64), (1, 48))
        for chunks in (((1,),), ((17,),), ((5,), (1,), (12,)), ((300,),))
    ]


def _convolution(op: str, parts: int) -> list[Case]:
    return [
        Case(op, (parts * width,), ((width, taps),), {"taps": taps}, chunks)
        for width, taps in ((16, 3), (64, 4), (1024, 3), (48, 2))
        for chunks in SEQUENCES
    ]


def _memory_scores() -> list[Case]:
    def attrs(head: int, heads: int, dim: int, positions: int) -> dict[str, Any]:
        sizes = {"head": head, "kv_heads": heads, "head_dim": dim, "positions": positions}
        return sizes | {"scale": dim**-0.5}

    return [
        Case("memory_scores", (heads * dim,) * 3, (), attrs(head, heads, dim, positions), chunks)
        for head, heads, dim in ((1, 2, 16), (2, 3, 64), (0, 1, 48))
        for chunks, positions in (
            *((((1,),), 20), (((17,),), 16), (((5,), (1,), (12,)), 300), (((300,),), 290)),
            *((((300,),), 700),),
        )
    ]


def _experts() -> list[Case]:
    cases = []
    for width, inner, experts, top_k, scoring, eps, scale, activation, bias, preference in (
        *((32, 64, 8, 2, "softmax", None, 1.0, "gelu_erf", True, False),),
        *((64, 32, 4, 4, "softmax", 0.0, 1.0, "swiglu", False, False),),
        *((96, 64, 37, 3, "sigmoid", 1e-6, 2.5, "swiglu", False, True),),
        *((64, 128, 1, 1, "sigmoid", None, 0.5, "gelu_erf", True, True),),
    ):
        rows = experts * inner * (2 if activation == "swiglu" else 1)
        weights = [(rows, width), (experts * width, inner), *[(width,)] * bias]
        attrs = {
            **{"experts": experts, "top_k": top_k, "scoring": scoring, "norm_eps": eps},
            **{"scale": scale, "activation": activation, "bias": bias, "preference": preference},
        }
        shapes = tuple(weights + [(experts,)] * preference)
        for chunks in (*ROWS, ((300,), (202,))):
            cases.append(Case("experts", (width, experts), shapes, attrs, chunks))
    return cases


CASES: dict[str, list[Case]] = {
    "embed": [
        Case("embed", (), ((v, w),), {}, r)
        for v, w in ((48, 64), (300, 16), (35, 192))
        for r in ROWS
    ],
    "linear": _linear(),
    "add": _elementwise("add", 2),
    "mul": _elementwise("mul", 2),
    "silu": _elementwise("silu", 1),
    "gelu": _elementwise("gelu", 1),
    "scale": [
        Case("scale", (width,), (), {"factor": factor}, rows)
        for width, factor in ((16, 0.5), (35, -3.25), (640, 640**0.5))
        for rows in ROWS
    ],
    "split": [
        Case("split", (width,), (), {"index": index, "parts": parts}, rows)
        for width, parts in ((96, 3), (128, 2), (48, 3))
        for index in range(parts)
        for rows in ROWS
    ],
    "rms_norm": [
        Case("rms_norm", (width,), ((width,),), {"eps": eps}, rows)
        for width, eps in ((16, 1e-5), (576, 1e-6), (2048, 1e-5))
        for rows in ROWS
    ],
    "head_norm": [
        Case("head_norm", (heads * dim,), ((dim,),), {"eps": 1e-5, "head_dim": dim}, rows)
        for heads, dim in ((4, 16), (3, 64), (1, 128))
        for rows in ROWS
    ],
    "rope": [
        Case(
            "rope",
            (heads * dim,),
            (),
            {"head_dim": dim, "inv_freq": _INV_FREQ[:half], "axes": axes, "scale": scale},
            chunks,
        )
        for heads, dim, half, scale, axes in (
            *((4, 16, 8, 1.0, ()), (3, 32, 16, 1.0, ()), (2, 64, 16, 1.25, ())),
            *((2, 32, 16, 1.0, _axes(16)), (2, 64, 12, 1.25, (1,) * 6 + (0,) * 6)),
        )
        for chunks in SEQUENCES
    ],
    "attention": _attention("attention"),
    "causal_conv1d": _convolution("causal_conv1d", 1),
    "output_rows": [
        Case("output_rows", (32,), (), {}, rows, outputs)
        for rows in ROWS
        for outputs in ("all", "last")
    ],
    "quantize": [
        Case("quantize", (width,), (), {"group": group}, rows)
        for group in GROUPS
        for width in (group, 576, 1536)
        for rows in ROWS
    ],
    "swiglu": [
        Case("swiglu", (width,), (), {}, rows) for width in (32, 192, 3072) for rows in ROWS
    ],
    **{
        op: [Case(op, (width,), (), {}, rows) for width in (32, 192, 4096) for rows in ROWS]
        for op in ("geglu", "geglu_erf")
    },
    "qkv_attention": _attention("qkv_attention"),
    "bidirectional_attention": _bidirectional(),
    "experts": _experts(),
    "short_conv": _convolution("short_conv", 3),
    "features": [
        Case("features", (start + width,), (), {"start": start, "width": width}, rows)
        for width, start in ((16, 0), (160, 0), (24, 3))
        for rows in ROWS
    ],
    **{
        op: [
            Case(op, (width,), (), {"start": start}, rows)
            for width, start in ((16, 0), (160, 7), (48, 48))
            for rows in ROWS
        ]
        for op in ("replace_features", "add_features")
    },
    "im2col": [
        Case("im2col", (width,) * frames, (), {"taps": 3, "stride": stride}, rows)
        for width in (16, 80)
        for frames, stride in ((1, 1), (2, 1), (2, 2))
        for rows in ROWS
    ],
    "gelu_erf": _elementwise("gelu_erf", 1),
    "layer_norm": [
        Case("layer_norm", (width,), ((width,),) * weights, {"eps": eps}, rows)
        for width, eps, weights in ((16, 1e-5, 2), (384, 1e-12, 2), (1280, 1e-6, 2), (768, 1e-5, 1))
        for rows in ROWS
    ],
    "add_position": [
        Case("add_position", (width,), ((80, width),), {"offset": offset}, chunks)
        for width, offset in ((16, 0), (384, 0), (32, 2))
        for chunks in SEQUENCES
    ],
    "add_segment": [
        Case("add_segment", (width,), ((segments, width),), {"separator": separator}, chunks)
        for width, segments, separator in ((16, 2, 3), (384, 1, 3), (32, 3, 0), (32, 2, None))
        for chunks in (((1,),), ((33,),), ((40,), (1,), (70,)))
    ],
    "memory_attention": _memory("memory_attention"),
    "store_memory": _memory("store_memory"),
    "memory_scores": _memory_scores(),
}
"""The op tests' and benchmarks' table: at least one case for every op."""


@dataclass(frozen=True)
class Built:
    """A case ready to run: its graph, its tensors, and the tokens of each step of each sequence."""

    case: Case
    graph: Graph
    tensors: Tensors
    steps: list[list[list[int]]]
    """steps[i][s]: what sequence s gets in step i, possibly nothing."""

    @property
    def positions(self) -> NDArray[np.int32]:
        """Where each token stands, on as many axes as the case has."""
        draw = np.random.default_rng(self.case.seed)
        places = draw.integers(-9, 999, (512, self.graph.axes), np.int32)
        if (within := self.case.attrs.get("within")) is not None:
            places[:, within] = np.arange(len(places)) // 9
        return places

    def rows(self, step: int, sessions: list[Any]) -> list[Row]:
        """What the sessions are fed in that step."""
        return [
            self._row(session, tokens)
            for session, tokens in zip(sessions, self.steps[step], strict=True)
            if tokens
        ]

    def _row(self, session: Any, tokens: list[int]) -> Row:
        outputs: Any = self.case.outputs
        if self.case.among_tokens:
            mixed = [-1 - token if token % 3 == 0 else token for token in tokens]
            return Row(session, mixed, outputs, features=self.tensors["features"])
        if self.case.op not in FEATURED:
            positions = self.positions[tokens] if self.graph.axes else None
            return Row(session, tokens, outputs, positions=positions)
        parts = [self.tensors[f"input{i}"][tokens] for i in range(len(self.case.inputs))]
        return Row(session, outputs=outputs, features=np.concatenate(parts, axis=1))


def build(case: Case, *, quantized: int = 0) -> Built:
    """The graph of one op. What matrices take is quantised first, in groups of ``quantized``."""
    draw = np.random.default_rng(case.seed)
    tensors: Tensors = {}
    sources: list[Node] = []
    for i, width in enumerate(case.inputs):
        name = f"input{i}"
        # Rows of very different sizes, and one row of zeros: norms and quantisation must bear both.
        spread = np.exp(draw.uniform(-3, 3, (VOCABULARY, 1)))
        spread[7] = 0
        values = draw.standard_normal((VOCABULARY, width)) * spread
        tensors[name] = values.astype(np.float32)
        sources.append(Node("embed", (), width, weights=(name,), name=f"x{i}"))
    if case.op in FEATURED:
        sources = _parts_of_features(case)
    if case.among_tokens:
        size = (VOCABULARY, case.attrs.get("start", 0) + max(case.inputs))
        tensors["features"] = draw.standard_normal(size).astype(np.float32)
    weights = []
    for i, shape in enumerate(case.weights):
        weights.append(f"weight{i}")
        values = draw.standard_normal(shape) / np.sqrt(shape[-1] if len(shape) > 1 else 1)
        tensors[weights[-1]] = values.astype(np.float32)
    used = {name for source in sources for name in source.weights} | set(weights)
    graph_shapes = {name: tensor.shape for name, tensor in tensors.items() if name in used}
    attrs = dict(case.attrs)
    if quantized and case.op == "experts":
        attrs["groups"] = (quantized, quantized)
    elif quantized:
        x = sources[0]
        sources[0] = Node("quantize", (x,), x.width, {"group": quantized}, name="x0.quantize")
    if case.among_tokens and case.op != "replace_features":  # the embedding of such a row is 0
        sources = [
            Node("replace_features", (x,), x.width, {"start": 0}, name=f"{x.name}.replaced")
            for x in sources
        ]
    slots = list(_slots(case))
    state = slots[0].name if slots else None
    op, effects = case.op, []
    if op in ("store_memory", "memory_scores"):  # what is stored is seen by what reads the memory
        effects = [Node("store_memory", tuple(sources[1:]), 0, attrs, (), state, "stored")]
        op, sources = op.replace("store_memory", "memory_attention"), sources[:1]
    width = OPS[op].width([s.width for s in sources], list(case.weights), attrs)
    node = Node(op, tuple(sources), width, attrs, tuple(weights), state, "result")
    order = Graph.of([*effects, node], slots, graph_shapes).nodes
    graph = verify(Graph(order, (node, *effects), tuple(slots), graph_shapes))
    vocabulary = case.weights[0][0] if case.op == "embed" else VOCABULARY
    steps: list[list[list[int]]] = [
        [
            draw.integers(0, vocabulary, chunks[i] if i < len(chunks) else 0).tolist()
            for chunks in case.chunks
        ]
        for i in range(max(len(chunks) for chunks in case.chunks))
    ]
    if case.attrs.get("within") is not None:
        steps = [[sorted(tokens) for tokens in step] for step in steps]
    return Built(case, graph, tensors, steps)


def _parts_of_features(case: Case) -> list[Node]:
    if case.op == "features":
        return []
    parts, width = len(case.inputs), case.inputs[0]
    attrs = {"start": 0, "width": parts * width}
    features = Node("features", (), parts * width, attrs, name="features")
    return [
        Node("split", (features,), width, {"index": i, "parts": parts}, name=f"x{i}")
        for i in range(parts)
    ]


def _slots(case: Case) -> Iterator[Slot]:
    state = OPS[case.op].state
    if state == "kv":
        kv_heads, head_dim = case.attrs["kv_heads"], case.attrs["head_dim"]
        yield Slot("kv", "state", kv_heads=kv_heads, head_dim=head_dim)
    elif state == "memory":
        kv_heads, head_dim = case.attrs["kv_heads"], case.attrs["head_dim"]
        yield Slot("memory", "state", kv_heads=kv_heads, head_dim=head_dim)
    elif state == "conv":
        width, taps = case.weights[0]
        yield Slot("conv", "state", width=width, taps=taps)


def run(program: Any, built: Built) -> NDArray[np.float32]:
    """The op's result over all steps, rows in batch order; for a reference or native program.

    The result leaves as if it were logits, which is how any program hands out a value.
    """
    sessions = [program.session() for _ in built.case.chunks]
    results = []
    for step in range(len(built.steps)):
        outputs = program.step(built.rows(step, sessions), want_logits=True)
        results.extend(output.logits for output in outputs)
    return np.stack(results)


def run_reference(built: Built, **options: Any) -> NDArray[np.float32]:
    """The living definition's result."""
    return run(ReferenceProgram(built.graph, built.tensors, **options), built)


Runner = Callable[[Built], NDArray[np.float32]]
"""What a native tier provides: the same rows as ``run_reference``."""
