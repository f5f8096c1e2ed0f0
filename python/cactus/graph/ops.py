"""The table of ops: one row each, with its formula and the rule that gives its width.

An op of this table has a row of the same name in ``graph/reference.py`` (NumPy), in
``graph/plan.py`` (its number in the native core) and a list of cases in ``tests/ops``. In the
formulas t is a row of the batch, x[t] a row vector, and "its sequence" the session that row t
belongs to; tokens and positions come with the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .node import Graph, Node

Shape = tuple[int, ...]
WidthRule = Callable[[Sequence[int], Sequence[Shape], Mapping[str, Any]], int]

AXES = 16
"""A row's given position has at most so many numbers: what the native core accepts."""

LINEAR_WEIGHTS = 4
"""At most this many matrices in one linear: what the native core accepts."""

QUANTIZING = frozenset(
    {
        *("rms_norm", "layer_norm", "swiglu", "geglu", "geglu_erf", "short_conv"),
        *("gelu", "gelu_erf"),
        *("attention", "qkv_attention", "memory_attention", "bidirectional_attention"),
    }
)
"""Ops that may carry ``attrs["quantize"]``: they then quantise their own output in such groups."""

WHOLE_TEXTS = "bidirectional_attention"
"""The op whose programs take whole texts: their sessions have no past."""

FEATURES = frozenset({"features", "replace_features", "add_features"})
"""Ops that take floats from outside the graph, so many of a row from ``attrs["start"]`` on."""

GROUPS = (32, 64)
"""How many columns may share one scale, in quantised activations as in quantised weights."""


@dataclass(frozen=True)
class Op:
    """One row: how many inputs and weights, which attributes, which state, and the width rule."""

    name: str
    formula: str
    inputs: tuple[int, ...]
    weights: tuple[int, ...]
    attrs: tuple[str, ...]
    state: str | None
    width: WidthRule


OPS: dict[str, Op] = {}


def op(
    *,
    inputs: int | tuple[int, ...] = 1,
    weights: int | tuple[int, ...] = 0,
    attrs: tuple[str, ...] = (),
    state: str | None = None,
) -> Callable[[WidthRule], WidthRule]:
    """Enter a width rule into the table; its name is the op's name, its docstring the formula."""

    def enter(rule: WidthRule) -> WidthRule:
        name = rule.__name__
        OPS[name] = Op(
            name,
            (rule.__doc__ or "").strip(),
            (inputs,) if isinstance(inputs, int) else inputs,
            (weights,) if isinstance(weights, int) else weights,
            attrs,
            state,
            rule,
        )
        return rule

    return enter


def matrix_count(weights: int, attrs: Mapping[str, Any]) -> int:
    """How many of a linear's weights are matrices; the rest are their biases."""
    return weights // 2 if attrs.get("bias") else weights


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def _whole_heads(width: int, attrs: Mapping[str, Any]) -> None:
    _need(width % attrs["head_dim"] == 0, f"{width} columns in heads of {attrs['head_dim']}")


def _same(widths: Sequence[int]) -> int:
    _need(len(set(widths)) == 1, f"want inputs of one width, got {list(widths)}")
    return widths[0]


@op(inputs=0, weights=1)
def embed(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out[t] = W[token[t]]; 0 for a row of features, whose token is negative"""
    return shapes[0][1]


@op(inputs=(1, 2), weights=tuple(range(1, 2 * LINEAR_WEIGHTS + 1)))
def linear(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out[t] = concat(W1 x[t], W2 x[t], ...) (+ r[t] with a second input, attrs residual=True)

    With attrs bias=True the weights are W1, W2, ..., b1, b2, ...: concat(W1 x[t] + b1, ...).
    """
    count = matrix_count(len(shapes), attrs)
    _need(count <= LINEAR_WEIGHTS, f"{count} weights, want at most {LINEAR_WEIGHTS}")
    for rows_cols in shapes[:count]:
        _need(rows_cols[1:] == (widths[0],), f"weight {rows_cols} does not fit x of {widths[0]}")
    if attrs.get("bias"):
        biases, want = list(shapes[count:]), [shape[:1] for shape in shapes[:count]]
        _need(biases == want, f"biases of {biases}, want {want}")
    rows = sum(shape[0] for shape in shapes[:count])
    _need(bool(attrs.get("residual")) == (len(widths) == 2), "residual=True goes with two inputs")
    _need(len(widths) == 1 or widths[1] == rows, f"residual of {widths[-1]} added to {rows}")
    return rows


@op(inputs=2)
def add(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out = a + b"""
    return _same(widths)


@op(inputs=2)
def mul(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out = a * b, element by element"""
    return _same(widths)


@op()
def silu(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out = x / (1 + exp(-x))"""
    return widths[0]


@op()
def gelu(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out = x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))"""
    return widths[0]


@op(attrs=("factor",))
def scale(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out = factor * x"""
    return widths[0]


@op(attrs=("index", "parts"))
def split(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out[t] = x[t, index*w : (index+1)*w] with w = width / parts (a view, nothing is computed)"""
    index, parts = attrs["index"], attrs["parts"]
    _need(0 <= index < parts and widths[0] % parts == 0, f"part {index} of {parts} of {widths[0]}")
    return int(widths[0] // parts)


@op(weights=1, attrs=("eps",))
def rms_norm(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out[t] = x[t] / sqrt(mean(x[t]^2) + eps) * w"""
    _need(shapes[0] == (widths[0],), f"weight {shapes[0]} for x of {widths[0]}")
    return widths[0]


@op(weights=1, attrs=("eps", "head_dim"))
def head_norm(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """rms_norm of each head (head_dim neighbouring columns), with one w[head_dim] for all heads"""
    _need(shapes[0] == (attrs["head_dim"],), f"weight {shapes[0]} for heads of {attrs['head_dim']}")
    _whole_heads(widths[0], attrs)
    return widths[0]


@op(attrs=("head_dim", "inv_freq", "axes", "scale"))
def rope(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """In each head: n = len(inv_freq), angle = position[t] * inv_freq, c, s = scale * (cos, sin)

    out[:n] = x[:n]*c - x[n:2n]*s;  out[n:2n] = x[n:2n]*c + x[:n]*s;  out[2n:] = x[2n:]

    With ``axes``, one for each of inv_freq, angle[i] = given[t, axes[i]] * inv_freq[i] with the
    positions that come with the batch; without (), by the place in the sequence.
    """
    _check_axes(attrs)
    _whole_heads(widths[0], attrs)
    _need(2 * len(attrs["inv_freq"]) <= attrs["head_dim"], "more frequencies than half a head")
    return widths[0]


@op(inputs=3, attrs=("heads", "kv_heads", "head_dim", "scale", "window"), state="kv")
def attention(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """Appends k, v to the slot, then per head h, with g = h // (heads / kv_heads):

    out[t,h] = sum_j softmax_j(scale * q[t,h]·K[j,g]) V[j,g], over j <= position[t] of its sequence
    and, unless window is 0, over the last ``window`` of these only

    With attrs blocks=True a row of features (whose token is negative) also sees those that follow
    it in the step before the next token.
    """
    _need(attrs["window"] >= 0, f"a window of {attrs['window']}")
    heads, kv_heads, head_dim = attrs["heads"], attrs["kv_heads"], attrs["head_dim"]
    _need(heads % kv_heads == 0, f"{heads} heads over {kv_heads} key/value heads")
    want = [heads * head_dim, kv_heads * head_dim, kv_heads * head_dim]
    _need(list(widths) == want, f"q, k, v of {list(widths)}, want {want}")
    return int(heads * head_dim)


@op(weights=1, attrs=("taps",), state="conv")
def causal_conv1d(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out[t] = sum_j w[:, j] * x[t - (taps-1) + j] along its sequence; x before its start is 0"""
    want = (widths[0], attrs["taps"])
    _need(shapes[0] == want, f"weight {shapes[0]}, want {want}")
    return widths[0]


@op()
def output_rows(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """Keeps the rows whose logits the batch asks for; every later node has only these rows"""
    return widths[0]


@op(attrs=("group",))
def quantize(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """Per row and ``group`` columns: integers q and a scale a, x is about q * a

    In 8 bits: a = max|x| / 127, q = round(x / a).

    In 12 bits, which is the default: a = max|x| / 30464. Of each 8 columns the last four are
    multiples of 16, and column j of the first four is as far from one as column j of the last four
    needs, so that one int8 level refines both.
    """
    group = attrs["group"]
    _need(group in GROUPS, f"groups of {group}, want one of {GROUPS}")
    _need(widths[0] % group == 0, f"{widths[0]} columns in groups of {group}")
    return widths[0]


@op()
def swiglu(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out = silu(first half of x) * second half of x"""
    _need(widths[0] % 2 == 0, f"{widths[0]} columns have no halves")
    return widths[0] // 2


@op()
def geglu(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out = gelu(first half of x) * second half of x"""
    return swiglu(widths, shapes, attrs)


@op()
def geglu_erf(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out = gelu_erf(first half of x) * second half of x"""
    return swiglu(widths, shapes, attrs)


@op(
    weights=(0, 2),
    attrs=(
        *("heads", "kv_heads", "head_dim", "scale", "window"),
        *("inv_freq", "axes", "rope_scale", "norm_eps"),
    ),
    state="kv",
)
def qkv_attention(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """q, k, v = columns of x; attention(rope(head_norm(q)), rope(head_norm(k)), v)

    The two weights are those of the norms; without weights (norm_eps None) there are no norms,
    and without frequencies no rotation.
    """
    _need(attrs["window"] >= 0, f"a window of {attrs['window']}")
    return _merged_qkv(widths, shapes, attrs)


def _check_axes(attrs: Mapping[str, Any]) -> None:
    axes, count = attrs["axes"], len(attrs["inv_freq"])
    _need(len(axes) in (0, count), f"{len(axes)} axes for {count} frequencies")
    _need(all(0 <= axis < AXES for axis in axes), f"axes {axes}, want them below {AXES}")


def _merged_qkv(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    _check_axes(attrs)
    heads, kv_heads, head_dim = attrs["heads"], attrs["kv_heads"], attrs["head_dim"]
    _need(heads % kv_heads == 0, f"{heads} heads over {kv_heads} key/value heads")
    want = (heads + 2 * kv_heads) * head_dim
    _need(widths[0] == want, f"qkv of {widths[0]}, want {want}")
    _need((attrs["norm_eps"] is None) == (not shapes), "norm_eps goes with two norm weights")
    _need(all(shape == (head_dim,) for shape in shapes), f"norm weights {list(shapes)}")
    return int(heads * head_dim)


@op(
    inputs=(1, 3),
    weights=(0, 2),
    attrs=(
        *("heads", "kv_heads", "head_dim", "scale", "reach"),
        *("inv_freq", "axes", "rope_scale", "norm_eps"),
    ),
)
def bidirectional_attention(
    widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]
) -> int:
    """As qkv_attention, but over every j of the same text, which is the sequence's rows of a step

    Or over those with |j - t| <= ``reach``, unless that is 0. Nothing is kept, and positions begin
    at 0 with every step. With three inputs these are q, k, v as they are attended to. With an axis
    ``within`` a text is only what lies side by side with the same given[t, within].
    """
    _need(-1 <= (attrs.get("within") or 0) < AXES, f"within axis {attrs.get('within')}")
    _need(attrs["reach"] >= 0, f"a reach of {attrs['reach']}")
    if len(widths) == 3:
        heads, kv_heads, head_dim = attrs["heads"], attrs["kv_heads"], attrs["head_dim"]
        want = [heads * head_dim, kv_heads * head_dim, kv_heads * head_dim]
        _need(list(widths) == want, f"q, k, v of {list(widths)}, want {want}")
        plain = not attrs["inv_freq"] and attrs["norm_eps"] is None
        _need(plain, "norms and rotary positions go with one input")
        widths = [sum(widths)]
    return _merged_qkv(widths, shapes, attrs)


@op(inputs=0, attrs=("start", "width"))
def features(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out[t] = given[t, start : start + width], of the floats that the caller gives for each row"""
    return int(attrs["width"])


@op(attrs=("start",))
def replace_features(
    widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]
) -> int:
    """out[t] = given[k, start : start + width] where token[t] is -1 - k, else x[t]

    Rows of features among tokens; embed gives 0 for them.
    """
    return widths[0]


@op(attrs=("start",))
def add_features(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out[t] = x[t] + given[k, start : start + width] where token[t] is -1 - k, else x[t]"""
    return widths[0]


@op(inputs=(1, 2), attrs=("taps", "stride"))
def im2col(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """Windows of 3 frames, one frame apart, or ``stride``; a row has one frame per input

    out[t] = for each frame f of row t (every ``stride``-th): concat(frame f-1, f, f+1); 0 outside
    """
    frames, stride = len(widths), attrs["stride"]
    _need(attrs["taps"] == 3 and frames % stride == 0, f"{frames} frames a row, stride {stride}")
    return int(3 * _same(widths) * frames // stride)


@op()
def gelu_erf(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out = x * (1 + erf(x / sqrt(2))) / 2"""
    return widths[0]


@op(weights=(1, 2), attrs=("eps",))
def layer_norm(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out[t] = (x[t] - mean) / sqrt(mean((x[t] - mean)^2) + eps) * w (+ b with a second weight)"""
    _need(set(shapes) == {(widths[0],)}, f"weights {list(shapes)} for x of {widths[0]}")
    return widths[0]


@op(weights=1, attrs=("offset",))
def add_position(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out[t] = x[t] + W[position[t] + offset]"""
    _need(shapes[0][1] == widths[0], f"table {shapes[0]} for x of {widths[0]}")
    return widths[0]


@op(weights=1, attrs=("separator",))
def add_segment(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out[t] = x[t] + W[min(n, rows - 1)], n the separator tokens before t in its text

    Without a separator (None) n is 0. In "[CLS] a [SEP] b [SEP]" a and its separator are segment
    0, b and its are 1: the token types of BERT.
    """
    _need(shapes[0][1] == widths[0], f"table {shapes[0]} for x of {widths[0]}")
    return widths[0]


@op(inputs=2, attrs=("kv_heads", "head_dim"), state="memory")
def store_memory(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """The slot's keys and values become k, v; no output"""
    want = attrs["kv_heads"] * attrs["head_dim"]
    _need(list(widths) == [want, want], f"k, v of {list(widths)}, want {want}")
    return 0


@op(inputs=(1, 3), attrs=("heads", "kv_heads", "head_dim", "scale"), state="memory")
def memory_attention(
    widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]
) -> int:
    """As attention, but over every j of the slot; with k, v these are stored there first"""
    heads, kv_heads, head_dim = attrs["heads"], attrs["kv_heads"], attrs["head_dim"]
    _need(heads % kv_heads == 0, f"{heads} heads over {kv_heads} key/value heads")
    want = [heads * head_dim, kv_heads * head_dim, kv_heads * head_dim]
    _need(list(widths) == want[: len(widths)], f"q, k, v of {list(widths)}, want {want}")
    return int(heads * head_dim)


@op(attrs=("head", "kv_heads", "head_dim", "scale", "positions"), state="memory")
def memory_scores(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """out[t, j] = scale * q[t,h]·K[j,h] of one head h, over the slot's first ``positions``

    Behind the slot's end it is 0.
    """
    head, kv_heads, head_dim = attrs["head"], attrs["kv_heads"], attrs["head_dim"]
    _need(0 <= head < kv_heads, f"head {head} of {kv_heads}")
    _need(widths[0] == kv_heads * head_dim, f"q of {widths[0]}, want {kv_heads * head_dim}")
    return int(attrs["positions"])


@op(weights=1, attrs=("taps",), state="conv")
def short_conv(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """b, c, y = thirds of x; out = c * causal_conv1d(b * y)"""
    _need(widths[0] % 3 == 0, f"{widths[0]} columns have no thirds")
    want = (widths[0] // 3, attrs["taps"])
    _need(shapes[0] == want, f"weight {shapes[0]}, want {want}")
    return widths[0] // 3


SCORINGS = ("softmax", "sigmoid")
EXPERT_ACTIVATIONS = ("gelu_erf", "swiglu")


@op(
    inputs=2,
    weights=(2, 3, 4),
    attrs=(
        *("experts", "top_k", "scoring", "norm_eps", "scale", "activation"),
        *("bias", "preference"),
    ),
)
def experts(widths: Sequence[int], shapes: Sequence[Shape], attrs: Mapping[str, Any]) -> int:
    """A mixture of experts of x, chosen by the second input, their logits (Shazeer et al. 2017)

    p = softmax or sigmoid of the logits; the top_k experts e with the largest p (+ preference),
    the lower one where two are equal; c_e = scale * p_e, divided by (sum of the chosen p) +
    norm_eps unless that is None; out[t] = sum_e c_e W2_e activation(W1_e x[t]) (+ bias)

    W1 is [experts * n, width], W2 [experts * width, m], the experts one behind the other; n is m,
    or 2 m with swiglu, whose gate comes first. The weights are W1, W2, then the bias [width] and
    the preference [experts] where attrs have them. With ``groups`` (of W1's input, of W2's; 0 for
    none) rows are quantised before each product.
    """
    count, gated = attrs["experts"], attrs["activation"] == "swiglu"
    _need(attrs["scoring"] in SCORINGS, f"scoring {attrs['scoring']!r}")
    _need(attrs["activation"] in EXPERT_ACTIVATIONS, f"activation {attrs['activation']!r}")
    _need(1 <= attrs["top_k"] <= count, f"{attrs['top_k']} of {count} experts")
    width, inner = widths[0], shapes[1][1]
    want: list[Shape] = [(count * inner * (1 + gated), width), (count * width, inner)]
    want += [(width,)] * attrs["bias"] + [(count,)] * attrs["preference"]
    _need(list(shapes) == want, f"weights {list(shapes)}, want {want}")
    _need(widths[1] == count, f"logits of {widths[1]} for {count} experts")
    return width


def verify(graph: Graph) -> Graph:
    """The graph itself, if every node agrees with its row; else ValueError naming the node.

    A failure is a mistake in a model file or a pass, never a property of a user's file.
    """
    seen: set[Node] = set()
    names: set[str] = set()
    for node in graph.nodes:
        try:
            _verify_node(graph, node, seen)
            _need(node.name not in names, "another node has this name")
        except (ValueError, KeyError) as error:
            raise ValueError(f"{node!r}: {error}") from None
        seen.add(node)
        names.add(node.name)
    return graph


def _verify_node(graph: Graph, node: Node, seen: set[Node]) -> None:
    row = OPS[node.op]
    _need(len(node.inputs) in row.inputs, f"{len(node.inputs)} inputs, want one of {row.inputs}")
    _need(len(node.weights) in row.weights, f"{len(node.weights)} weights, want {row.weights}")
    _need(seen.issuperset(node.inputs), "an input comes later in the graph")
    missing = [name for name in row.attrs if name not in node.attrs]
    _need(not missing, f"lacks attrs {missing}")
    kind = graph.slot(node.state).kind if node.state else None
    _need(kind == row.state, f"state of kind {kind}, want {row.state}")
    if group := node.attrs.get("quantize"):
        _need(can_quantize(node, group), f"cannot quantise its own output in groups of {group}")
    shapes = [graph.weights[name] for name in node.weights]
    width = row.width([source.width for source in node.inputs], shapes, node.attrs)
    _need(width == node.width, f"width {node.width}, want {width}")


def can_quantize(node: Node, group: int) -> bool:
    """Whether the node may quantise its own output in such groups (each within one head)."""
    if node.op not in QUANTIZING or group not in GROUPS:
        return False
    return node.width % group == 0 and node.attrs.get("head_dim", group) % group == 0
