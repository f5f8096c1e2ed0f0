"""Steps that a tier's kernels do in one: a product that stores its quantised activation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cactus import nn
from cactus.graph.plan import build, with_int8_activations
from cactus.graph.trace import trace
from cactus.native import Program, Row

from ..tolerances import assert_close
from . import programs


class TwoLayers(nn.Module):
    def __init__(self, width: int, inner: int, activation: str) -> None:
        self.activation = getattr(nn, activation)
        self.first, self.second = nn.Linear(width, inner, True), nn.Linear(inner, width, True)
        # All rows reach it, so that those before it are not of the wanted rows, which keep 12 bits.
        self.attention = nn.Attention(width, 2, 2, 32, None, reach=0)
        self.width = width

    def forward(self) -> nn.Tensor:
        x = self.second(self.activation(self.first(nn.features(self.width))))
        return nn.output_rows(self.attention(x))


def rows_of(blob: bytes, path: Path, given: np.ndarray, threads: int = 1) -> np.ndarray:
    with Program(blob, path, isa=programs.AMX_BF16, threads=threads, chunk=256) as program:
        row = Row(program.session(), outputs="all", features=given, positions=None)
        return np.stack([output.logits for output in program.step([row], want_logits=True)])


@pytest.mark.skipif(programs.AMX_BF16 not in programs.TIERS, reason="this CPU has no unit for bf16")
@pytest.mark.parametrize("activation", ["gelu", "gelu_erf"])
@pytest.mark.parametrize(("width", "inner"), [(64, 96), (64, 64), (96, 32)])
def test_a_product_that_stores_its_activation(
    width: int, inner: int, activation: str, tmp_path: Path
) -> None:
    """Nearly what two steps give, also where the result would lie in the memory of the input."""
    module = TwoLayers(width, inner, activation)
    module.bind()
    draw = np.random.default_rng(width + inner)
    tensors = {
        parameter.name: draw.standard_normal(parameter.shape, np.float32) * np.float32(0.2)
        for parameter in module.parameters()
    }
    graph = programs.fused(trace(module), "q8")
    store = programs.store(graph, tensors, tmp_path / "q8", "q8")
    blobs = [
        with_int8_activations(
            build(graph, store.tensors, vocab_size=0, context_length=256, keep=keep).blob
        )
        for keep in (True, False)
    ]
    given = draw.standard_normal((200, width), np.float32)
    apart, found = (rows_of(blob, store.path, given) for blob in blobs)
    assert_close(found, apart, "bf16 model", "rows")
    assert np.array_equal(rows_of(blobs[1], store.path, given, 2), found)
    few = [rows_of(blobs[1], store.path, given[:9], threads) for threads in (1, 2)]
    assert np.array_equal(*few)
