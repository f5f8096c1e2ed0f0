"""Tracing: names, order, weights, and the mistakes that it catches."""

from __future__ import annotations

import pytest

from cactus import nn
from cactus.graph.ops import OPS, matrix_count
from cactus.graph.trace import trace
from tests.models.golden import NAMES, load


class Pair(nn.Module):
    def __init__(self, wide: int = 32) -> None:
        self.table = nn.Embedding(10, 16)
        self.blocks = [nn.Linear(16, 16), nn.Linear(16, wide)]

    def forward(self) -> nn.Tensor:
        x = self.table()
        return self.blocks[1](x + nn.silu(self.blocks[0](x)) * x)


def bound(model: nn.Module) -> nn.Module:
    model.bind()
    return model


def test_nodes_are_named_after_modules_and_functions_after_their_scope() -> None:
    graph = trace(bound(Pair()))
    names = [(node.op, node.name) for node in graph.nodes]
    assert names == [
        ("embed", "table"),
        ("linear", "blocks.0"),
        ("silu", "silu"),
        ("mul", "mul"),
        ("add", "add"),
        ("linear", "blocks.1"),
    ]
    assert graph.outputs == (graph.node("blocks.1"),)
    assert graph.outputs[0].width == 32
    assert graph.weights == {
        "table.weight": (10, 16),
        "blocks.0.weight": (16, 16),
        "blocks.1.weight": (32, 16),
    }


def test_what_the_output_does_not_need_is_not_in_the_graph() -> None:
    class Wasteful(Pair):
        def forward(self) -> nn.Tensor:
            x = self.table()
            self.blocks[1](x)
            return self.blocks[0](x)

    assert [node.name for node in trace(bound(Wasteful())).nodes] == ["table", "blocks.0"]


def test_widths_that_do_not_fit_name_the_node() -> None:
    class Crooked(Pair):
        def forward(self) -> nn.Tensor:
            x = self.blocks[1](self.table())
            return self.blocks[0](x)

    with pytest.raises(ValueError, match=r"linear blocks\.0: weight \(16, 16\) .* x of 32"):
        trace(bound(Crooked()))


def test_one_module_called_twice_is_refused() -> None:
    class Twice(Pair):
        def forward(self) -> nn.Tensor:
            return self.blocks[0](self.blocks[0](self.table()))

    with pytest.raises(ValueError, match=r"blocks\.0.*another node has this name"):
        trace(bound(Twice()))


def test_modules_cannot_be_called_outside_of_a_trace() -> None:
    with pytest.raises(RuntimeError, match=r"inside graph\.trace\.trace"):
        bound(Pair())()


def test_a_failed_trace_leaves_nothing_behind() -> None:
    class Failing(Pair):
        def forward(self) -> nn.Tensor:
            self.table()
            raise KeyError("x")

    with pytest.raises(KeyError):
        trace(bound(Failing()))
    assert len(trace(bound(Pair())).nodes) == 6


def test_attribute_names_can_differ_from_the_checkpoint() -> None:
    class Renamed(Pair):
        names = {"table": "wte", "blocks": "h"}  # noqa: RUF012

    graph = trace(bound(Renamed()))
    assert set(graph.weights) == {"wte.weight", "h.0.weight", "h.1.weight"}


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_of_a_model_is_used(name: str) -> None:
    golden = load(name)
    wanted = {weight.name: weight.shape for weight in golden.architecture.weights}
    assert golden.graph.weights == wanted
    kinds = {weight.name: weight.kind for weight in golden.architecture.weights}
    matrices = {
        w
        for n in golden.graph.nodes
        if n.op in ("linear", "embed")
        for w in n.weights[: matrix_count(len(n.weights), n.attrs)]
    }
    assert {name for name, kind in kinds.items() if kind == "matrix"} == matrices


def test_a_factor_scales_and_one_does_nothing() -> None:
    class Scaled(Pair):
        def forward(self) -> nn.Tensor:
            return self.table() * 1.0 * 0.5

    last = trace(bound(Scaled())).nodes[-1]
    assert (last.op, last.attrs, last.inputs[0].op) == ("scale", {"factor": 0.5}, "embed")


def test_a_deep_model_is_no_problem_for_the_stack() -> None:
    class Deep(Pair):
        def forward(self) -> nn.Tensor:
            x = self.table()
            for _ in range(3000):
                x = nn.silu(x)
            return x

    graph = trace(bound(Deep()))
    assert len(graph.nodes) == 3001
    assert "silu_3000" in str(graph).splitlines()[-1]


def test_every_op_has_a_formula() -> None:
    assert all(row.formula for row in OPS.values())
