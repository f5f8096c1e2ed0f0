"""Text encoders: every row sees its whole text, which is one row of a step and has no past."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus import nn
from cactus.engine.options import LoadOptions
from cactus.errors import InvalidRequest, NonFiniteLogits
from cactus.graph import plan
from cactus.graph.node import Graph
from cactus.graph.plan import build, takes_whole_texts, with_int8_activations
from cactus.graph.reference import ReferenceProgram
from cactus.graph.trace import trace
from cactus.native import Program, Row
from tests.native import programs
from tests.native.programs import BF16_TIERS, EXACT_TIERS, TIERS, Store
from tests.tolerances import assert_close

WIDTH, VOCABULARY, CONTEXT, SEPARATOR = 64, 90, 400, 2


class PostNorm(nn.Module):
    """A layer of BERT: separate projections with biases, norms behind the residuals."""

    def __init__(self) -> None:
        self.attention = nn.Attention(WIDTH, 2, 2, 32, None, qkv_bias=True, out_bias=True, reach=0)
        self.attention_norm = nn.LayerNorm(WIDTH, 1e-12)
        self.mlp: nn.Module = nn.MLP(WIDTH, 96)
        self.norm = nn.LayerNorm(WIDTH, 1e-12)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = self.attention_norm(x + self.attention(x))
        return self.norm(x + self.mlp(x))


class PreNorm(nn.Module):
    """A layer of ModernBERT: one projection, rotation, a reach, a gate, norms without biases."""

    def __init__(self, reach: int) -> None:
        rope = nn.RoPE.of(16, 1e4)
        self.attention = nn.MergedAttention(WIDTH, 4, 4, 16, rope, reach=reach)
        self.attention_norm = nn.LayerNorm(WIDTH, bias=False)
        self.mlp = nn.MergedMLP(WIDTH, 96, nn.gelu_erf)
        self.norm = nn.LayerNorm(WIDTH, bias=False)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.norm(x))


class Grouped(nn.Module):
    """A layer of EmbeddingGemma: keys that heads share, head norms, a gate of two matrices."""

    def __init__(self, reach: int) -> None:
        heads = (4, 1, 16)
        self.attention = nn.Attention(WIDTH, *heads, nn.RoPE.of(16, 1e4), 1e-6, reach=reach)
        self.mlp = nn.GatedMLP(WIDTH, 96)
        self.norm = nn.RMSNorm(WIDTH, 1e-6)

    def forward(self, x: nn.Tensor) -> nn.Tensor:
        x = x + self.attention(self.norm(x))
        return x + self.mlp(x)


class Mixed(PostNorm):
    """A layer of nomic's second model: a mixture of experts for the feed-forward."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Experts(WIDTH, 96, 8, 2, activation="gelu_erf", bias=True)


class Encoder(nn.Module):
    """Words, positions and segments; layers of every kind."""

    def __init__(self) -> None:
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.PositionEmbedding(CONTEXT + 2, WIDTH, offset=2)
        self.segments = nn.SegmentEmbedding(2, WIDTH, SEPARATOR)
        self.layers = [Mixed(), PostNorm(), PreNorm(0), PreNorm(5), Grouped(7), Grouped(300)]

    def forward(self) -> nn.Tensor:
        x = self.segments(self.positions(self.words()))
        for layer in self.layers:
            x = layer(x)
        return nn.output_rows(x)


@pytest.fixture(scope="module")
def encoder() -> tuple[Graph, dict[str, Any]]:
    model = Encoder()
    model.bind()
    draw = np.random.default_rng(3)
    tensors = {}
    for parameter in model.parameters():
        values = draw.standard_normal(parameter.shape) / np.sqrt(parameter.shape[-1])
        tensors[parameter.name] = (values + (len(parameter.shape) == 1)).astype(np.float32)
    return trace(model), tensors


@pytest.fixture(scope="module")
def stores(
    encoder: tuple[Graph, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Store]:
    folder = tmp_path_factory.mktemp("encoder")
    return lru_cache(lambda kind: programs.store(*encoder, folder / kind, kind))


def texts(*lengths: int) -> list[list[int]]:
    draw = np.random.default_rng(sum(lengths))
    return [draw.integers(0, VOCABULARY, count).tolist() for count in lengths]


def load(graph: Graph, store: Store, kind: str, **options: Any) -> Program:
    plan = build(programs.fused(graph, kind), store.tensors, vocab_size=0, context_length=CONTEXT)
    assert takes_whole_texts(plan.blob)
    return Program(plan.blob, store.path, chunk=1000, **options)


def states(program: Any, *given: list[int], outputs: Any = "all") -> np.ndarray:
    sessions = [program.session() for _ in given]
    rows = [Row(session, text, outputs) for session, text in zip(sessions, given, strict=True)]
    found = program.step(rows, want_logits=True)
    assert {session.length for session in sessions} == {0}
    return np.stack([output.logits for output in found if output.logits is not None])


RAGGED = (1, 17, 300, 64, 130, 2, 65)


@pytest.mark.parametrize(("kind", "allowed"), [("f32", "f16"), ("q8", "q12"), ("q4", "q12")])
def test_states_are_the_references(
    kind: str, allowed: str, encoder: tuple[Graph, dict[str, Any]], stores: Callable[[str], Store]
) -> None:
    given = texts(*RAGGED)
    graph, values = programs.fused(encoder[0], kind), encoder[1] | stores(kind).values
    want = states(ReferenceProgram(graph, values, chunk=1000, kv_dtype="f16", vocab_size=0), *given)
    for isa in EXACT_TIERS:
        with load(encoder[0], stores(kind), kind, isa=isa, threads=2) as program:
            assert_close(states(program, *given), want, allowed, f"states of {kind} on {isa}")


@pytest.mark.parametrize("isa", BF16_TIERS)
@pytest.mark.parametrize("kind", ["f16", "bf16", "q8", "q8_64", "q4", "q4_64", "q4_0", "q4_nl"])
def test_products_of_bf16_give_nearly_the_states(
    kind: str, isa: str, encoder: tuple[Graph, dict[str, Any]], stores: Callable[[str], Store]
) -> None:
    given = texts(*RAGGED)
    graph = programs.fused(encoder[0], kind)
    plan = build(graph, stores(kind).tensors, vocab_size=0, context_length=CONTEXT)
    blob, path = with_int8_activations(plan.blob), stores(kind).path
    with Program(blob, path, isa=EXACT_TIERS[-1], chunk=1000) as exact:
        want = states(exact, *given)
    with (
        Program(blob, path, isa=isa, chunk=1000, threads=1) as one,
        Program(blob, path, isa=isa, chunk=1000, threads=3) as three,
    ):
        alone = [states(one, text) for text in given]
        assert_close(np.concatenate(alone), want, "bf16 model", kind)
        assert not np.array_equal(np.concatenate(alone), want)
        assert np.array_equal(np.concatenate(alone), states(three, *given))


@pytest.mark.parametrize("isa", TIERS)
@pytest.mark.parametrize("kind", ["f32", "f16", "q8"])
def test_a_text_has_the_same_bits_in_any_company(
    kind: str, isa: str, encoder: tuple[Graph, dict[str, Any]], stores: Callable[[str], Store]
) -> None:
    given = texts(*RAGGED)
    with (
        load(encoder[0], stores(kind), kind, isa=isa, threads=1) as one,
        load(encoder[0], stores(kind), kind, isa=isa, threads=3) as three,
    ):
        alone = [states(one, text) for text in given]
        assert np.array_equal(np.concatenate(alone), states(one, *given))
        assert np.array_equal(np.concatenate(alone[::-1]), states(three, *given[::-1]))
        for outputs, at in (("first", 0), ("last", -1)):
            want = np.stack([text[at] for text in alone])
            assert np.array_equal(want, states(three, *given, outputs=outputs))


@pytest.mark.parametrize("isa", TIERS)
def test_the_sum_of_the_states_is_one_output(
    isa: str, encoder: tuple[Graph, dict[str, Any]], stores: Callable[[str], Store]
) -> None:
    given = texts(*RAGGED)
    with load(encoder[0], stores("f32"), "f32", isa=isa, threads=2) as program:
        want = [states(program, text).sum(axis=0) for text in given]
        assert np.array_equal(states(program, *given, outputs="sum"), want)
        kinds: list[Any] = ["sum", "first", "none", "all", "last", "sum", "none"]
        sessions = [program.session() for _ in given]
        rows = [Row(*row) for row in zip(sessions, given, kinds, strict=True)]
        step = program.prepare(rows, want_logits=True)
        step.run()
        every = [states(program, text) for text in given]
        parts = [want[0], every[1][0], *every[3], every[4][-1], want[5]]
        assert np.array_equal(step.values, np.stack(parts))


def test_the_reference_sums_states_too(encoder: tuple[Graph, dict[str, Any]]) -> None:
    reference = ReferenceProgram(*encoder, chunk=1000, vocab_size=0)
    given = texts(1, 17, 64)
    want = [states(reference, text).sum(axis=0) for text in given]
    assert np.allclose(states(reference, *given, outputs="sum"), want, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("kind", ["f32", "q8"])
def test_what_is_written_over_changes_no_bit(
    kind: str,
    encoder: tuple[Graph, dict[str, Any]],
    stores: Callable[[str], Store],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = texts(*RAGGED)
    graph, store = programs.fused(encoder[0], kind), stores(kind)

    def run() -> tuple[np.ndarray, int]:
        built = build(graph, store.tensors, vocab_size=0, context_length=CONTEXT)
        with Program(built.blob, store.path, chunk=1000, threads=3) as program:
            return states(program, *given), len(built.buffers)

    over = run()
    monkeypatch.setattr(plan, "_IN_PLACE", frozenset())
    apart = run()
    assert np.array_equal(over[0], apart[0]) and over[1] < apart[1]


def test_tiers_agree_to_the_bit(
    encoder: tuple[Graph, dict[str, Any]], stores: Callable[[str], Store]
) -> None:
    found = set()
    for isa in EXACT_TIERS:
        with load(encoder[0], stores("q8"), "q8", isa=isa) as program:
            found |= {states(program, *texts(*RAGGED)).tobytes()} if isa != "scalar" else set()
    assert len(found) <= 1


def test_a_session_is_only_a_name(
    encoder: tuple[Graph, dict[str, Any]], stores: Callable[[str], Store]
) -> None:
    (text,) = texts(40)
    with load(encoder[0], stores("f32"), "f32") as program, program.session() as session:
        pending = [program.prepare([Row(session, text, "all")], want_logits=True) for _ in "ab"]
        for step in pending:
            step.run()
        assert np.array_equal(pending[0].values, pending[1].values)
        assert pending[0].values.shape == (40, WIDTH)
        with pytest.raises(InvalidRequest, match="401 tokens do not fit the context of 400"):
            program.step([Row(session, [1] * 401)])
        nothing = program.prepare([Row(session, text)])
        nothing.run()
        with pytest.raises(InvalidRequest, match="not asked"):
            _ = nothing.values


def test_encoders_multiply_8_bits_unless_asked_for_12(
    encoder: tuple[Graph, dict[str, Any]], stores: Callable[[str], Store]
) -> None:
    graph, store = programs.fused(encoder[0], "q8"), stores("q8")
    blob = build(graph, store.tensors, vocab_size=0, context_length=CONTEXT).blob
    assert LoadOptions(activations="int12").apply(blob, whole_texts=True) == blob
    assert LoadOptions().apply(blob, whole_texts=True) == with_int8_activations(blob) != blob


def test_damaged_weights_are_an_error(
    encoder: tuple[Graph, dict[str, Any]], tmp_path: Path
) -> None:
    graph, tensors = encoder
    damaged = tensors | {"layers.3.norm.weight": np.full(WIDTH, np.nan, np.float32)}
    store = programs.store(graph, damaged, tmp_path / "weights")
    with load(graph, store, "f32") as program:
        for text in texts(3, 3):
            for outputs in ("all", "sum"):
                with pytest.raises(NonFiniteLogits):
                    states(program, text, outputs=outputs)
