"""Every kernel tier on the tiny checkpoints, against transformers and the reference."""

from __future__ import annotations

import numpy as np
import pytest

from cactus.native import Program, Row
from tests.models import golden
from tests.native import programs
from tests.native.conftest import Expected, Packed
from tests.native.programs import EXACT_TIERS
from tests.tolerances import assert_close

cases = pytest.mark.parametrize("isa", EXACT_TIERS)
names = pytest.mark.parametrize("name", golden.NAMES)


@cases
@names
def test_every_node_of_the_unfused_graph(name: str, isa: str, packed: Packed) -> None:
    checkpoint = golden.load(name)
    plan = programs.plan_of(checkpoint.graph, packed(name, "f32"), keep=True)
    with Program(plan.blob, packed(name, "f32").path, threads=2, isa=isa) as program:
        program.step([Row(program.session(), checkpoint.tokens, "all")])
        values = programs.dump(plan, program, len(checkpoint.tokens))
    # Attention reads keys and values in f16, and so does everything after it.
    compared = golden.check_nodes(checkpoint, values, "f16")
    assert compared == len(checkpoint.nodes)
    assert_close(values["model.embed_tokens"], checkpoint_embeddings(checkpoint), "f32", "embed")


def checkpoint_embeddings(checkpoint: golden.Golden) -> np.ndarray:
    table = checkpoint.tensors["model.embed_tokens.weight"]
    return table[checkpoint.tokens]


@cases
@names
@pytest.mark.parametrize(
    "dtype", ["f32", "f16", "bf16", "q8", "q8_64", "q4", "q4_64", "q4_0", "q4_nl"]
)
def test_fused_graph_against_the_reference(
    name: str, dtype: str, isa: str, packed: Packed, expected: Expected
) -> None:
    checkpoint, weights = golden.load(name), packed(name, dtype)
    graph = programs.fused(checkpoint.graph, dtype)
    want = expected(name, dtype, "int12")
    with programs.load(graph, weights, isa=isa, threads=2) as program:
        outputs = program.step([Row(program.session(), checkpoint.tokens, "all")], want_logits=True)
    got = programs.logits_of(outputs)
    # A rounding that falls the other way in f16 or in 12 bits is the whole difference.
    assert_close(got, want, "q12", f"{name} {dtype} {isa}")
    for output, row in zip(outputs, got, strict=True):
        shifted = row.astype(np.float64) - row.max()
        log_probabilities = shifted - np.log(np.exp(shifted).sum())
        entropy = -np.sum(np.exp(log_probabilities) * log_probabilities)
        assert output.token == int(np.argmax(row))
        assert output.entropy == pytest.approx(entropy, abs=1e-5)
        assert output.logprob == pytest.approx(log_probabilities[output.token], abs=1e-5)


@cases
@names
@pytest.mark.parametrize("dtype", ["q8", "q8_64", "q4", "q4_64", "q4_0", "q4_nl"])
def test_int8_activations_against_the_reference(
    name: str, dtype: str, isa: str, packed: Packed, expected: Expected
) -> None:
    checkpoint, weights = golden.load(name), packed(name, dtype)
    graph = programs.fused(checkpoint.graph, dtype)
    want = expected(name, dtype, "int8")
    with programs.load(graph, weights, activations="int8", isa=isa, threads=2) as program:
        got = golden.run_all(program, checkpoint.tokens)
    assert_close(got, want, "q8", f"{name} {dtype} {isa}")


@cases
@names
def test_greedy_continuation_equals_transformers(name: str, isa: str, packed: Packed) -> None:
    checkpoint = golden.load(name)
    graph = programs.fused(checkpoint.graph, "f32")
    with programs.load(graph, packed(name, "f32"), isa=isa, threads=1) as program:
        got = golden.greedy(program, checkpoint.tokens, len(checkpoint.greedy))
    assert got == checkpoint.greedy
