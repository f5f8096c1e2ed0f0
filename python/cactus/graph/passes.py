"""Passes: each turns a graph into an equal one that the native core runs faster.

A fused node keeps the name of the unfused node whose value it has, so that the same values can be
compared before and after. Passes only rewrite; ``optimize`` is the list of them, in order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from .dtypes import GROUPS, TILE_ROWS
from .node import Graph, Node
from .ops import LINEAR_WEIGHTS, can_quantize, matrix_count, verify

DtypeOf = Callable[[str], str]
RowsOf = Callable[[str], int]

_ROW_BY_ROW = frozenset(
    {
        *("linear", "add", "mul", "scale", "silu", "gelu", "split"),
        *("rms_norm", "head_norm", "swiglu", "geglu", "experts"),
    }
)

_GATES = {"silu": "swiglu", "gelu": "geglu", "gelu_erf": "geglu_erf"}
"""By activation: the op that multiplies a half of its input with the activation of the other."""

_MERGED_ATTENTION = {
    "attention": "qkv_attention",
    "bidirectional_attention": "bidirectional_attention",
}
"""By attention to q, k and v: the op that takes them as one value."""


def optimize(graph: Graph, dtype_of: DtypeOf, rows_of: RowsOf) -> Graph:
    """The graph that the native core runs, verified.

    ``dtype_of`` and ``rows_of`` give the stored dtype ("q4", "q8", "f16", ...) and the number of
    rows of a matrix by its checkpoint name.
    """
    graph = fuse_qkv_attention(graph, dtype_of, rows_of)
    graph = merge_linears(graph, dtype_of, rows_of)
    graph = fuse_gates(graph)
    graph = fuse_short_conv(graph)
    graph = fuse_residual(graph)
    graph = hoist_output_rows(graph)
    graph = insert_quantize(graph, dtype_of)
    graph = fuse_quantize(graph)
    return verify(graph)


def fuse_qkv_attention(graph: Graph, dtype_of: DtypeOf, rows_of: RowsOf) -> Graph:
    """attention of projections of one x, perhaps normed and roped -> one linear, qkv_attention."""

    def rule(node: Node, uses: Counter[Node]) -> Node | None:
        if node.op not in _MERGED_ATTENTION or len(node.inputs) != 3:
            return None
        q, k, v = node.inputs
        between: dict[str, tuple[Node, Node]] = {}
        for op in ("rope", "head_norm"):
            if q.op == k.op == op and q.attrs == k.attrs:
                between[op] = (q, k)
                (q,), (k,) = q.inputs, k.inputs
        rope, norms = between.get("rope"), between.get("head_norm", ())
        inner = [*(node for pair in between.values() for node in pair), q, k, v]
        if any(uses[part] > 1 for part in inner) or not _mergeable([q, k, v], dtype_of, rows_of):
            return None
        attrs = {
            **node.attrs,
            "inv_freq": rope[0].attrs["inv_freq"] if rope else (),
            "axes": rope[0].attrs["axes"] if rope else (),
            "rope_scale": rope[0].attrs["scale"] if rope else 1.0,
            "norm_eps": norms[0].attrs["eps"] if norms else None,
        }
        weights = tuple(name for norm in norms for name in norm.weights)
        qkv = _merged([q, k, v])
        op = _MERGED_ATTENTION[node.op]
        return Node(op, (qkv,), node.width, attrs, weights, node.state, node.name)

    return _rewrite(graph, rule)


def merge_linears(graph: Graph, dtype_of: DtypeOf, rows_of: RowsOf) -> Graph:
    """Linears of one width that read one x -> one linear, and a split (a view) for each."""
    readers: dict[tuple[Node, int], list[Node]] = defaultdict(list)
    for node in graph.nodes:
        if node.op == "linear" and len(node.inputs) == 1:
            readers[node.inputs[0], node.width].append(node)
    place = {
        node: (group, index)
        for group in readers.values()
        if 2 <= len(group) <= LINEAR_WEIGHTS and _mergeable(group, dtype_of, rows_of)
        for index, node in enumerate(group)
    }
    by_name = {node.name: place[node] for node in place}
    merged: dict[str, Node] = {}

    def rule(node: Node, uses: Counter[Node]) -> Node | None:
        if node.name not in by_name:
            return None
        group, index = by_name[node.name]
        first = group[0].name
        if first not in merged:
            # The members are of the old graph; what they read is this node's (rewritten) input.
            merged[first] = replace(_merged(group), inputs=node.inputs)
        attrs = {"index": index, "parts": len(group)}
        return Node("split", (merged[first],), node.width, attrs, name=node.name)

    return _rewrite(graph, rule)


def fuse_gates(graph: Graph) -> Graph:
    """silu(first half of x) * second half of x -> swiglu(x), with gelu geglu(x), and so on."""

    def rule(node: Node, uses: Counter[Node]) -> Node | None:
        if node.op != "mul" or node.inputs[0].op not in _GATES:
            return None
        gate, up = node.inputs[0].inputs[0], node.inputs[1]
        if uses[node.inputs[0]] > 1 or not _parts([gate, up]):
            return None
        return Node(_GATES[node.inputs[0].op], gate.inputs, node.width, name=node.name)

    return _rewrite(graph, rule)


def fuse_short_conv(graph: Graph) -> Graph:
    """c * causal_conv1d(b * y) with b, c, y = thirds of x -> short_conv(x)."""

    def rule(node: Node, uses: Counter[Node]) -> Node | None:
        if node.op != "mul" or node.inputs[1].op != "causal_conv1d":
            return None
        c, conv = node.inputs
        gated = conv.inputs[0]
        if gated.op != "mul" or uses[conv] > 1 or uses[gated] > 1:
            return None
        b, y = gated.inputs
        if not _parts([b, c, y]):
            return None
        attrs, state = dict(conv.attrs), conv.state
        return Node("short_conv", b.inputs, node.width, attrs, conv.weights, state, node.name)

    return _rewrite(graph, rule)


def fuse_residual(graph: Graph) -> Graph:
    """linear(x) + r -> linear(x, r)."""

    def rule(node: Node, uses: Counter[Node]) -> Node | None:
        if node.op != "add":
            return None
        # The second operand first: in ``x = x + layer(x)`` it is the one that is read only here.
        for linear, residual in (node.inputs[::-1], node.inputs):
            if linear.op == "linear" and len(linear.inputs) == 1 and uses[linear] == 1:
                attrs = {**linear.attrs, "residual": True}
                inputs = (*linear.inputs, residual)
                return replace(linear, inputs=inputs, attrs=attrs, name=node.name)
        return None

    return _rewrite(graph, rule)


def hoist_output_rows(graph: Graph) -> Graph:
    """output_rows(f(x)) -> f(output_rows(x)) for all that works row by row.

    A prompt then leaves the last layer after its attention: only the rows that become logits go on.
    """
    readers: dict[Node, set[Node]] = defaultdict(set)
    for node in graph.nodes:
        for source in node.inputs:
            readers[source].add(node)
    late = {node for node in graph.nodes if node.op == "output_rows"}
    for node in reversed(graph.nodes):
        if node.op in _ROW_BY_ROW and readers[node] and readers[node] <= late:
            late.add(node)
    names = {node.name for node in late}
    kept: dict[Node, Node] = {}

    def rule(node: Node, uses: Counter[Node]) -> Node | None:
        if node.name not in names:
            return None
        if node.op == "output_rows":
            return node.inputs[0] if node.inputs[0].name in names else None
        for x in node.inputs:
            if x.name not in names and x not in kept:
                name = f"{x.name}.output_rows"
                kept[x] = Node("output_rows", (x,), x.width, name=name)
        return replace(node, inputs=tuple(kept.get(x, x) for x in node.inputs))

    return _rewrite(graph, rule)


def insert_quantize(graph: Graph, dtype_of: DtypeOf) -> Graph:
    """linear(x) with quantised weights -> linear(quantize(x)).

    Linears that share x share its quantisation, if they want the same groups. Experts quantise rows
    after they are gathered.
    """
    quantized: dict[tuple[Node, int], Node] = {}

    def rule(node: Node, uses: Counter[Node]) -> Node | None:
        if node.op == "experts":
            groups = tuple(GROUPS.get(dtype_of(name), 0) for name in node.weights[:2])
            return replace(node, attrs={**node.attrs, "groups": groups})
        group = GROUPS.get(dtype_of(node.weights[0])) if node.op == "linear" else None
        if group is None:
            return None
        x = node.inputs[0]
        if (x, group) not in quantized:
            name = f"{x.name}.quantize{group}"
            quantized[x, group] = Node("quantize", (x,), x.width, {"group": group}, name=name)
        return replace(node, inputs=(quantized[x, group], *node.inputs[1:]))

    return _rewrite(graph, rule)


def fuse_quantize(graph: Graph) -> Graph:
    """quantize(op(x)) -> op(x) that quantises its output, where nobody else reads that output."""

    def rule(node: Node, uses: Counter[Node]) -> Node | None:
        if node.op != "quantize":
            return None
        (source,), group = node.inputs, node.attrs["group"]
        if uses[source] > 1 or not can_quantize(source, group):
            return None
        return replace(source, attrs={**source.attrs, "quantize": group})

    return _rewrite(graph, rule)


def _rewrite(graph: Graph, rule: Callable[[Node, Counter[Node]], Node | None]) -> Graph:
    """Offer each node, its inputs already rewritten, to ``rule``, which may return another for it.

    ``rule`` also gets how often each value was read before the pass. Unread nodes are dropped.
    """
    counts = graph.uses()
    uses: Counter[Node] = Counter()
    new: dict[Node, Node] = {}
    for node in graph.nodes:
        inputs = tuple(new[source] for source in node.inputs)
        same = node if inputs == node.inputs else replace(node, inputs=inputs)
        new[node] = rule(same, uses) or same
        uses[new[node]] += counts[node]
    return Graph.of((new[node] for node in graph.outputs), graph.slots, graph.weights)


def _mergeable(linears: Sequence[Node], dtype_of: DtypeOf, rows_of: RowsOf) -> bool:
    """Whether these can be one linear: one x in the same groups or in none, and a tile ends with
    each of them."""
    if any(node.op != "linear" or node.inputs != linears[0].inputs for node in linears):
        return False
    if len({bool(node.attrs.get("bias")) for node in linears}) > 1:
        return False
    names = [name for node in linears for name in _matrices(node)]
    groups = {GROUPS.get(dtype_of(name)) for name in names}
    whole = all(rows_of(name) % TILE_ROWS == 0 for name in names)
    return len(groups) == 1 and whole and len(names) <= LINEAR_WEIGHTS


def _merged(linears: Sequence[Node]) -> Node:
    matrices = [name for node in linears for name in _matrices(node)]
    biases = [name for node in linears for name in node.weights[len(_matrices(node)) :]]
    name = "+".join([linears[0].name, *(node.name.rpartition(".")[2] for node in linears[1:])])
    return replace(
        linears[0], width=sum(n.width for n in linears), weights=(*matrices, *biases), name=name
    )


def _matrices(linear: Node) -> tuple[str, ...]:
    return linear.weights[: matrix_count(len(linear.weights), linear.attrs)]


def _parts(nodes: Sequence[Node]) -> bool:
    """Whether these are all the parts of one value, in order."""
    return all(
        node.op == "split"
        and node.inputs == nodes[0].inputs
        and (node.attrs["index"], node.attrs["parts"]) == (index, len(nodes))
        for index, node in enumerate(nodes)
    )
