"""Attention of many features whose result is rounded to 8 bits: in bytes, on every tier."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cactus import nn
from cactus.errors import NonFiniteLogits
from cactus.graph.node import Graph
from cactus.graph.plan import build, with_int8_activations
from cactus.graph.reference import ReferenceProgram
from cactus.graph.trace import trace
from cactus.native import Program, Row
from tests.native import programs
from tests.native.programs import EXACT_TIERS, Store
from tests.tolerances import assert_close, nmse

WIDTH, MOST = 64, 1600
F32 = NDArray[np.float32]


class TwoLayers(nn.Module):
    """The result of the first is rounded; of the second only the wanted rows go on."""

    def __init__(self, heads: int, kv_heads: int, head_dim: int, rope: bool) -> None:
        angles = nn.RoPE.of(head_dim, 1e4) if rope else None
        self.layers = [
            nn.Attention(WIDTH, heads, kv_heads, head_dim, angles, reach=0) for _ in range(2)
        ]

    def forward(self) -> nn.Tensor:
        x = nn.features(WIDTH)
        for layer in self.layers:
            x = layer(x)
        return nn.output_rows(x)


class Model:
    """Random weights of 8 bits, and programs over them."""

    def __init__(self, folder: Path, heads: int, kv_heads: int, head_dim: int, rope: bool) -> None:
        module = TwoLayers(heads, kv_heads, head_dim, rope)
        module.bind()
        draw = np.random.default_rng(head_dim)
        size = np.float32(0.15 * (64 / head_dim) ** 0.25)  # scores of the same size, about 1.5
        tensors = {
            parameter.name: draw.standard_normal(parameter.shape, np.float32) * size
            for parameter in module.parameters()
        }
        self.graph: Graph = programs.fused(trace(module), "q8")
        self.store: Store = programs.store(self.graph, tensors, folder / "q8", "q8")
        plan = build(self.graph, self.store.tensors, vocab_size=0, context_length=MOST)
        self.exact, self.rounded = plan.blob, with_int8_activations(plan.blob)

    def reference(self, text: F32) -> F32:
        program = ReferenceProgram(self.graph, self.store.values, vocab_size=0, chunk=MOST)
        return programs.logits_of(
            program.step([Row(program.session(), outputs="all", features=text)], want_logits=True)
        )

    def run(self, texts: list[F32], isa: str, threads: int = 1) -> F32:
        with Program(
            self.rounded, self.store.path, isa=isa, threads=threads, chunk=MOST
        ) as program:
            rows = [Row(program.session(), outputs="all", features=text) for text in texts]
            return programs.logits_of(program.step(rows, want_logits=True))


def text_of(rows: int, seed: int = 0) -> F32:
    return np.random.default_rng([rows, seed]).standard_normal((rows, WIDTH), np.float32)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "head_dim", "rope", "rows"),
    [
        (2, 2, 64, False, 1500),
        (2, 2, 32, True, 257),
        (4, 1, 16, True, 300),
        (2, 1, 48, False, 256),
        (2, 1, 80, False, 288),
        (2, 1, 128, True, 513),
        (1, 1, 512, False, 270),
    ],
)
def test_every_tier_and_number_of_threads(
    heads: int, kv_heads: int, head_dim: int, rope: bool, rows: int, tmp_path: Path
) -> None:
    model, text = Model(tmp_path, heads, kv_heads, head_dim, rope), text_of(rows)
    want, found = model.reference(text), []
    for isa in EXACT_TIERS:
        for threads in (1, 3) if isa == EXACT_TIERS[-1] else (1,):
            got = model.run([text], isa, threads)
            assert_close(got, want, "bytes", f"{isa}, {threads} threads")
            found += [got] if isa != "scalar" else []
    for one, other in pairwise(found):
        np.testing.assert_array_equal(one, other)


def test_a_text_has_the_same_bits_in_any_company(tmp_path: Path) -> None:
    model, isa = Model(tmp_path, 2, 2, 32, False), EXACT_TIERS[-1]
    texts = [text_of(rows) for rows in (300, 7, 515, 256)]
    together = model.run(texts, isa, 2)
    alone = [model.run([text], isa) for text in texts]
    np.testing.assert_array_equal(together, np.concatenate(alone))


def test_small_weights_count_beside_a_large_one(tmp_path: Path) -> None:
    """One position that most is taken from, and hundreds whose weights are small."""
    model, text = Model(tmp_path, 2, 2, 64, False), text_of(600)
    text[0] *= 12
    assert_close(model.run([text], EXACT_TIERS[-1]), model.reference(text), "bytes")


@pytest.mark.parametrize("isa", EXACT_TIERS)
def test_nothing_at_all_is_no_number_divided_by_nothing(isa: str, tmp_path: Path) -> None:
    model, text = Model(tmp_path, 2, 2, 64, False), np.zeros((300, WIDTH), np.float32)
    assert not model.run([text], isa).any()
    text[7] = text_of(1)
    assert_close(model.run([text], isa), model.reference(text), "bytes")


@pytest.mark.parametrize("isa", EXACT_TIERS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_reported(value: float, isa: str, tmp_path: Path) -> None:
    model, text = Model(tmp_path, 2, 2, 32, False), text_of(300)
    text[41, 3] = value
    with pytest.raises(NonFiniteLogits):
        model.run([text], isa)


def test_short_texts_are_as_exact_as_without(tmp_path: Path) -> None:
    model, errors = Model(tmp_path, 2, 2, 32, False), []
    for rows in (255, 256):
        text = text_of(rows)
        errors.append(nmse(model.run([text], EXACT_TIERS[-1]), model.reference(text)))
    assert errors[0] < errors[1]


class Words(nn.Module):
    """The same layers over tokens."""

    def __init__(self, reach: int) -> None:
        self.words = nn.Embedding(MOST, WIDTH)
        self.layers = [nn.Attention(WIDTH, 2, 2, 32, None, reach=reach) for _ in range(2)]

    def forward(self) -> nn.Tensor:
        x = self.words()
        for layer in self.layers:
            x = layer(x)
        return nn.output_rows(x)


def test_tokens_are_never_attended_to_in_bytes(tmp_path: Path) -> None:
    """What reaches just as far as the text sees the same, and is never made in bytes."""
    draw = np.random.default_rng(0)
    tokens = draw.integers(0, MOST, 300).tolist()
    found = []
    for reach in (0, MOST):
        module = Words(reach)
        module.bind()
        draw = np.random.default_rng(1)
        tensors = {
            each.name: draw.standard_normal(each.shape, np.float32) for each in module.parameters()
        }
        graph = programs.fused(trace(module), "q8")
        store = programs.store(graph, tensors, tmp_path / f"q8-{reach}", "q8")
        plan = build(graph, store.tensors, vocab_size=0, context_length=MOST)
        blob = with_int8_activations(plan.blob)
        with Program(blob, store.path, isa=EXACT_TIERS[-1], chunk=MOST) as program:
            row = Row(program.session(), tokens, outputs="all")
            found.append(programs.logits_of(program.step([row], want_logits=True)))
    np.testing.assert_array_equal(*found)
