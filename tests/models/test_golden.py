"""Every architecture, node by node, against transformers on tiny random checkpoints."""

from __future__ import annotations

import pytest

from tests.models.golden import NAMES, check_nodes, greedy, load, reference, run_all
from tests.tolerances import assert_close, nmse


@pytest.mark.parametrize("name", NAMES)
def test_states_are_what_the_last_norm_gives(name: str) -> None:
    golden = load(name)
    states = run_all(reference(golden, golden.architecture.build_states()), golden.tokens)
    norm = next(node.name for node in reversed(golden.graph.nodes) if node.op == "rms_norm")
    assert_close(states[golden.rows], golden.nodes[norm], "f32", norm)


@pytest.mark.parametrize("name", NAMES)
def test_every_node_of_the_unfused_graph(name: str) -> None:
    golden = load(name)
    program = reference(golden)
    run_all(program, golden.tokens)
    assert check_nodes(golden, program.dump) == len(golden.graph.nodes) == len(golden.nodes)


@pytest.mark.parametrize("name", NAMES)
def test_logits_of_every_position(name: str) -> None:
    golden = load(name)
    assert_close(run_all(reference(golden), golden.tokens), golden.logits, "f32", name)


@pytest.mark.parametrize("name", NAMES)
def test_fused_graph(name: str) -> None:
    golden = load(name)
    program = reference(golden, golden.fused())
    assert_close(run_all(program, golden.tokens), golden.logits, "f32", name)
    # Fused nodes keep the name of the value they have, so many can still be compared.
    assert check_nodes(golden, program.dump) >= len(program.graph.nodes) // 2


@pytest.mark.parametrize("name", NAMES)
def test_quantised_activations_stay_close(name: str) -> None:
    golden = load(name)
    program = reference(golden, golden.fused("q8"))
    assert any(node.attrs.get("quantize") for node in program.graph.nodes)
    assert_close(run_all(program, golden.tokens), golden.logits, "q12", name)


@pytest.mark.parametrize("name", NAMES)
def test_keys_and_values_in_f16_stay_close(name: str) -> None:
    golden = load(name)
    logits = run_all(reference(golden, kv_dtype="f16"), golden.tokens)
    assert_close(logits, golden.logits, "f16", name)
    assert nmse(logits, golden.logits) > 0


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_greedy_continuation(name: str, fused: bool) -> None:
    golden = load(name)
    program = reference(golden, golden.fused() if fused else None)
    assert greedy(program, golden.tokens, len(golden.greedy)) == golden.greedy


@pytest.mark.parametrize("name", NAMES)
def test_the_checkpoint_fits_its_architecture(name: str) -> None:
    golden = load(name)
    golden.architecture.check({key: value.shape for key, value in golden.tensors.items()})
    assert golden.architecture.tied == (name not in ("llama_untied", "qwen2", "phi3"))
