"""Each pass: what it does to the graph, and that the values do not change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from cactus.graph import passes
from cactus.graph.node import Graph, Node, Slot
from cactus.graph.ops import verify
from cactus.graph.step import Row
from tests.models.golden import NAMES, Golden, load, reference, run_all, stored_dtype
from tests.tolerances import assert_close

Pass = Callable[[Graph], Graph]


def rows_of(graph: Graph) -> Callable[[str], int]:
    return lambda name: graph.weights[name][0]


def stored_as(dtype: str) -> Callable[[str], str]:
    return lambda name: dtype


def apply(name: str, graph: Graph, dtype: str = "f32") -> Graph:
    function = getattr(passes, name)
    if name in ("fuse_qkv_attention", "merge_linears"):
        function = partial(function, dtype_of=stored_as(dtype), rows_of=rows_of(graph))
    elif name == "insert_quantize":
        function = partial(function, dtype_of=stored_as(dtype))
    return verify(function(graph))


def ops(graph: Graph) -> Counter[str]:
    return Counter(node.op for node in graph.nodes)


EXACT = ["fuse_qkv_attention", "merge_linears", "fuse_gates", "fuse_short_conv", "fuse_residual"]
EXACT.append("hoist_output_rows")


@pytest.mark.parametrize("count", range(1, len(EXACT) + 1))
@pytest.mark.parametrize("name", NAMES)
def test_fused_equals_unfused(name: str, count: int) -> None:
    golden = load(name)
    before = run_all(reference(golden), golden.tokens)
    graph = golden.graph
    for step in EXACT[:count]:
        graph = apply(step, graph)
    after = run_all(reference(golden, graph), golden.tokens)
    # The same f32 operations in the same order: only BLAS may pick another kernel for a shape.
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("step", EXACT)
@pytest.mark.parametrize("name", NAMES)
def test_each_pass_alone(name: str, step: str) -> None:
    golden = load(name)
    graph = apply(step, golden.graph)
    before = run_all(reference(golden), golden.tokens)
    after = run_all(reference(golden, graph), golden.tokens)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["q8", "q4_64"])
@pytest.mark.parametrize("name", NAMES)
def test_quantising_passes(name: str, dtype: str) -> None:
    golden = load(name)
    exact = golden.fused()

    def dtype_of(weight: str) -> str:
        return stored_dtype(dtype, exact.weights[weight][1])

    inserted = verify(passes.insert_quantize(exact, dtype_of))
    fused = apply("fuse_quantize", inserted)
    quantised = [run_all(reference(golden, g), golden.tokens) for g in (inserted, fused)]
    np.testing.assert_array_equal(*quantised)
    assert_close(quantised[0], run_all(reference(golden, exact), golden.tokens), "q12", name)
    assert ops(fused)["quantize"] < ops(inserted)["quantize"]


def layers(golden: Golden, kind: str) -> int:
    return sum(slot.kind == kind for slot in golden.graph.slots)


@pytest.mark.parametrize("name", NAMES)
def test_a_layer_after_all_passes(name: str) -> None:
    golden = load(name)
    attention, conv = layers(golden, "kv"), layers(golden, "conv")
    total = attention + conv
    sandwich, scaled = name == "gemma3_text", name == "granite"
    assert ops(golden.fused()) == {
        "embed": 1,
        "rms_norm": (4 if sandwich else 2) * total + 1,
        # Per layer: into the operator, out of it, into the feed-forward, out of it; and the head.
        "linear": 4 * total + 1,
        **({"qkv_attention": attention} if attention else {}),
        **({"short_conv": conv} if conv else {}),
        # A norm or a factor behind operator and feed-forward keeps the residual out of the linear.
        **({"geglu": total} if sandwich else {"swiglu": total}),
        **({"add": 2 * total} if sandwich or scaled else {}),
        **({"scale": 2 * total + 2 if scaled else 1} if sandwich or scaled else {}),
        # What the last operator gave, and the residual stream beside it.
        "output_rows": 2,
    }


def test_quantise_nodes_left_over() -> None:
    # Heads of 16 share groups of 32, so attention cannot quantise its own output; heads of 32 can,
    # but in the last layer output_rows comes between.
    assert ops(load("llama").fused("q4"))["quantize"] == 2
    assert ops(load("llama_untied").fused("q4"))["quantize"] == 1
    assert ops(load("lfm2").fused("q4"))["quantize"] == 1
    # No head of 16 or 32 has a whole group of 64.
    assert ops(load("llama_untied").fused("q4_64"))["quantize"] == 2


def test_eight_bits_may_stand_beside_four_in_groups_of_64() -> None:
    graph = load("llama_untied").graph
    mixed = passes.optimize(
        graph, lambda name: "q8_64" if "v_proj" in name else "q4_64", rows_of(graph)
    )
    assert ops(mixed) == ops(load("llama_untied").fused("q4_64"))


def test_names_of_fused_nodes_are_those_of_their_values() -> None:
    names = [node.name for node in load("llama").fused("q8").nodes[1:8]]
    assert names == [
        "model.layers.0.input_layernorm",
        "model.layers.0.self_attn.q_proj+k_proj+v_proj",
        "model.layers.0.self_attn.attention",
        "model.layers.0.self_attn.attention.quantize32",
        "model.layers.0.add",
        "model.layers.0.post_attention_layernorm",
        "model.layers.0.mlp.gate_proj+up_proj",
    ]


def test_linears_of_which_only_some_are_quantised_stay_apart() -> None:
    golden = load("llama")
    graph = golden.graph

    def dtype_of(name: str) -> str:
        return "f16" if "v_proj" in name or "up_proj" in name else "q8"

    mixed = passes.optimize(graph, dtype_of, rows_of(graph))
    # q and k are of different widths, v and up are f16: nothing can be merged.
    assert all(len(node.weights) <= 1 for node in mixed.nodes if node.op == "linear")
    assert ops(mixed)["attention"] == 2
    logits = run_all(reference(golden, mixed), golden.tokens)
    assert_close(logits, golden.logits, "q12", "mixed")


def test_linears_that_read_other_groups_stay_apart() -> None:
    golden = load("llama_untied")
    graph = golden.graph

    def dtype_of(name: str) -> str:
        return "q8" if "v_proj" in name or "up_proj" in name else "q4_64"

    mixed = passes.optimize(graph, dtype_of, rows_of(graph))
    for node in mixed.nodes:
        if node.op == "linear":
            assert len({dtype_of(name) for name in node.weights}) == 1
    # Both norms of a layer are read in groups of 32, by v or up, and in groups of 64 by the rest.
    norms = [n for n in mixed.nodes if n.op == "quantize" and n.inputs[0].op == "rms_norm"]
    sizes = Counter(node.attrs["group"] for node in norms)
    assert sizes[32] == sizes[64] == 2 * layers(golden, "kv")
    logits = run_all(reference(golden, mixed), golden.tokens)
    assert_close(logits, golden.logits, "q12", "mixed")


def test_rows_that_end_within_a_tile_are_not_merged() -> None:
    golden = load("llama")
    graph = passes.optimize(golden.graph, stored_as("f16"), lambda name: 24)
    assert all(len(node.weights) <= 1 for node in graph.nodes if node.op == "linear")


X = Node("embed", (), 32, weights=("table",), name="x")
WEIGHTS = {"table": (8, 32), "a": (64, 32), "b": (32, 32), "c": (32, 32), "k": (32, 3)}
WEIGHTS["bias"] = (32,)


def linear(weight: str, x: Node = X) -> Node:
    return Node("linear", (x,), WEIGHTS[weight][0], {}, (weight,), None, f"linear_{weight}")


def graph_of(node: Node, *slots: Slot) -> Graph:
    return verify(Graph.of([node], slots, WEIGHTS))


def test_a_gate_that_somebody_else_reads_is_not_fused_away() -> None:
    a = linear("a")
    gate, up = (Node("split", (a,), 32, {"index": i, "parts": 2}, name=f"s{i}") for i in range(2))
    active = Node("silu", (gate,), 32, name="silu")
    product = Node("mul", (active, up), 32, name="mul")
    both = Node("add", (product, active), 32, name="add")
    assert ops(apply("fuse_gates", graph_of(both)))["swiglu"] == 0
    assert ops(apply("fuse_gates", graph_of(product)))["swiglu"] == 1


def test_halves_in_the_other_order_are_not_swiglu() -> None:
    a = linear("a")
    up, gate = (Node("split", (a,), 32, {"index": i, "parts": 2}, name=f"s{i}") for i in range(2))
    product = Node("mul", (Node("silu", (gate,), 32, name="silu"), up), 32, name="mul")
    assert ops(apply("fuse_gates", graph_of(product)))["swiglu"] == 0


def test_projections_of_which_only_some_have_a_bias_stay_apart() -> None:
    """The biases of a linear are either of all its matrices or of none."""
    b, c = linear("b"), linear("c")
    biased = replace(c, weights=("c", "bias"), attrs={"bias": True})
    for other, count in ((c, 1), (biased, 2)):
        graph = graph_of(Node("add", (b, other), 32, name="total"))
        assert ops(apply("merge_linears", graph))["linear"] == count


def test_a_linear_that_somebody_else_reads_keeps_its_own_value() -> None:
    b, c = linear("b"), linear("c")
    total = Node("add", (b, c), 32, name="total")
    fused = apply("fuse_residual", graph_of(Node("add", (total, b), 32, name="again")))
    # c goes into the sum; b is read twice and stays; the second sum has no linear to go into.
    assert ops(fused) == {"embed": 1, "linear": 2, "add": 1}
    assert fused.node("total").weights == ("c",)
    assert fused.node("total").inputs == (X, b)


def test_a_residual_on_the_left() -> None:
    fused = apply("fuse_residual", graph_of(Node("add", (linear("b"), X), 32, name="sum")))
    assert ops(fused) == {"embed": 1, "linear": 1}


def test_only_the_last_operator_sees_every_row() -> None:
    golden = load("lfm2")
    program = reference(golden, golden.fused())
    program.step([Row(program.session(), golden.tokens, "last")])
    rows = {name: len(value) for name, value in program.dump.items()}
    few = [name for name, count in rows.items() if count == 1]
    assert few == [
        "model.layers.2.conv.mul_2.output_rows",
        "model.layers.1.add_2.output_rows",
        "model.layers.2.add",
        "model.layers.2.ffn_norm",
        "model.layers.2.feed_forward.w1+w3",
        "model.layers.2.feed_forward.mul",
        "model.layers.2.add_2",
        "model.embedding_norm",
        "lm_head",
    ]
    assert all(rows[name] == len(golden.tokens) for name in rows if name not in few)
    assert_close(program.dump["lm_head"][0], golden.logits[-1], "f32", "last")


def test_linears_that_share_an_input_share_its_quantisation() -> None:
    both = Node("add", (linear("b"), linear("c")), 32, name="sum")
    quantised = apply("insert_quantize", graph_of(both), "q4")
    assert ops(quantised)["quantize"] == 1
    # An embedding cannot quantise its own output, so the node stays.
    assert ops(apply("fuse_quantize", quantised))["quantize"] == 1


def test_linears_with_other_groups_get_a_quantisation_each() -> None:
    x = Node("embed", (), 64, weights=("wide",), name="x")
    weights = {"wide": (8, 64), "w": (64,), "a": (16, 64), "b": (16, 64), "c": (16, 64)}
    norm = Node("rms_norm", (x,), 64, {"eps": 1e-5}, ("w",), None, "norm")
    a, b, c = (Node("linear", (norm,), 16, {}, (name,), None, name) for name in "abc")
    total = Node("add", (Node("add", (a, b), 16, name="ab"), c), 16, name="abc")
    dtypes = {"a": "q4_64", "b": "q8", "c": "q4"}
    graph = verify(Graph.of([total], (), weights))
    quantised = verify(passes.insert_quantize(graph, lambda name: dtypes[name]))
    read = {name: quantised.node(name).inputs[0] for name in "abc"}
    assert read["b"] is read["c"]
    assert [read[name].attrs["group"] for name in "ab"] == [64, 32]
    # Two quantisations of one norm: it can carry neither.
    assert ops(apply("fuse_quantize", quantised))["quantize"] == 2


def test_a_norm_that_is_read_unquantised_too_is_not_fused() -> None:
    graph = load("llama").graph
    norm = graph.node("model.norm")
    head = replace(
        graph.outputs[0], inputs=(Node("quantize", (norm,), 64, {"group": 64}, name="q"),)
    )
    shared = Node("add", (Node("silu", (norm,), 64, name="s"), norm), 64, name="t")
    tail = Node("linear", (shared,), head.width, {}, head.weights, None, "tail")
    last = Node("add", (head, tail), head.width, name="last")
    fused = apply("fuse_quantize", verify(Graph.of([last], graph.slots, graph.weights)))
    assert ops(fused)["quantize"] == 1


def test_a_convolution_with_crossed_gates_is_not_fused() -> None:
    wide = {**WEIGHTS, "in": (96, 32)}
    projected = Node("linear", (X,), 96, {}, ("in",), None, "in")
    b, c, y = (
        Node("split", (projected,), 32, {"index": i, "parts": 3}, name=f"s{i}") for i in range(3)
    )

    def graph(first: Node, second: Node, gate: Node) -> Graph:
        product = Node("mul", (first, second), 32, name="mul")
        conv = Node("causal_conv1d", (product,), 32, {"taps": 3}, ("k",), "conv", "conv")
        out = Node("mul", (gate, conv), 32, name="out")
        return verify(Graph.of([out], [Slot("conv", "conv", width=32, taps=3)], wide))

    assert ops(apply("fuse_short_conv", graph(b, y, c)))["short_conv"] == 1
    assert ops(apply("fuse_short_conv", graph(c, y, b)))["short_conv"] == 0
