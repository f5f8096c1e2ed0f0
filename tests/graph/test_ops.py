"""``verify`` refuses nodes that do not agree with their row of the table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cactus.graph.node import Graph, Node, Slot
from cactus.graph.ops import verify

TABLE = {"table": (8, 64), "matrix": (32, 64), "norm": (64,), "kernel": (64, 3)}
SLOTS = (Slot("kv", "kv", kv_heads=1, head_dim=16), Slot("conv", "conv", width=64, taps=3))
X = Node("embed", (), 64, weights=("table",), name="x")
HEADS = {"heads": 2, "kv_heads": 1, "head_dim": 16, "scale": 0.25, "window": 0}


def graph_of(*nodes: Node) -> Graph:
    return Graph((X, *nodes), (nodes[-1],), SLOTS, TABLE)


GOOD = Node("linear", (X,), 32, {}, ("matrix",), None, "good")


def test_a_good_node_passes() -> None:
    assert verify(graph_of(GOOD)).outputs == (GOOD,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 31}, "width 31, want 32"),
        ({"inputs": ()}, "0 inputs"),
        ({"inputs": (X, X, X)}, "3 inputs"),
        ({"inputs": (X, X)}, "residual=True goes with two inputs"),
        ({"inputs": (X, X), "attrs": {"residual": True}}, "residual of 64 added to 32"),
        ({"weights": ()}, "0 weights"),
        ({"weights": ("matrix",) * 5}, "5 weights"),
        ({"weights": ("nothing",)}, "nothing"),
        (
            {"weights": ("matrix", "norm"), "attrs": {"bias": True}},
            r"biases of \[\(64,\)\], want \[\(32,\)\]",
        ),
        ({"weights": ("matrix",) * 3, "attrs": {"bias": True}}, "biases of"),
        ({"weights": ("norm",)}, "does not fit x of 64"),
        ({"state": "kv"}, "state of kind kv, want None"),
        ({"attrs": {"quantize": 32}}, "cannot quantise its own output in groups of 32"),
        ({"op": "quantize", "weights": (), "width": 64}, r"lacks attrs \['group'\]"),
        ({"op": "quantize", "weights": (), "attrs": {"group": 16}}, "groups of 16, want one of"),
        (
            {"op": "quantize", "weights": (), "attrs": {"group": True}},
            "groups of True, want one of",
        ),
        ({"name": "x"}, "another node has this name"),
        ({"op": "unknown"}, "unknown"),
        ({"op": "rms_norm", "weights": ("norm",), "width": 64}, r"lacks attrs \['eps'\]"),
        ({"op": "split", "weights": (), "attrs": {"index": 2, "parts": 2}}, "part 2 of 2"),
        ({"op": "split", "weights": (), "attrs": {"index": 0, "parts": 5}}, "part 0 of 5"),
        ({"op": "rope", "weights": ()}, "lacks attrs"),
        ({"op": "causal_conv1d", "weights": ("kernel",), "attrs": {"taps": 3}}, "want conv"),
    ],
)
def test_a_bad_node_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        verify(graph_of(replace(GOOD, **changes)))
    assert f"<{changes.get('op', 'linear')} {changes.get('name', 'good')}" in str(error.value)


@pytest.mark.parametrize(
    ("head_dim", "group", "fits"),
    [(16, 32, False), (32, 32, True), (32, 64, False), (64, 64, True), (64, 32, True)],
)
def test_attention_quantises_groups_within_a_head_only(
    head_dim: int, group: int, fits: bool
) -> None:
    heads = {"heads": 2, "kv_heads": 1, "head_dim": head_dim, "scale": 1.0, "norm_eps": None}
    rotary = {"inv_freq": (1.0,), "axes": (), "rope_scale": 1.0}
    attrs = {**heads, **rotary, "window": 0, "quantize": group}
    table = {"table": (8, 4 * head_dim)}
    x = Node("embed", (), 4 * head_dim, weights=("table",), name="x")
    node = Node("qkv_attention", (x,), 2 * head_dim, attrs, (), "kv", "a")
    graph = Graph((x, node), (node,), (Slot("kv", "kv", kv_heads=1, head_dim=head_dim),), table)
    if fits:
        assert verify(graph) is graph
    else:
        with pytest.raises(ValueError, match=f"cannot quantise .* groups of {group}"):
            verify(graph)
    del attrs["quantize"]
    verify(graph)


@pytest.mark.parametrize("group", [True, 16, 128])
def test_a_norm_quantises_in_groups_of_32_or_64_only(group: int) -> None:
    attrs = {"eps": 1e-5, "quantize": group}
    node = Node("rms_norm", (X,), 64, attrs, ("norm",), None, "a")
    with pytest.raises(ValueError, match="cannot quantise"):
        verify(graph_of(node))
    attrs["quantize"] = 64
    verify(graph_of(node))


def test_an_input_must_come_first() -> None:
    later = Node("silu", (X,), 64, name="later")
    early = Node("silu", (later,), 64, name="early")
    with pytest.raises(ValueError, match="comes later"):
        verify(graph_of(early, later))
