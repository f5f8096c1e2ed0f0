"""The starter model on the native core: as good as transformers in f32, the same on every tier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cactus.graph.passes import optimize
from cactus.graph.plan import build, with_int8_activations, with_int8_kv
from cactus.models.base import load_architecture
from cactus.native import Program, Row
from cactus.weights.format.folder import WeightsFolder
from tests.models import starter
from tests.native.programs import EXACT_TIERS
from tests.tolerances import assert_close


def load(folder: Path, kv: str = "f16", activations: str = "int12", **options: object) -> Program:
    with WeightsFolder.open(folder) as weights:
        architecture = load_architecture(weights.config)
        tensors = weights.tensors
        graph = optimize(
            architecture.build(), lambda n: tensors[n].dtype, lambda n: tensors[n].rows
        )
        config = architecture.config
        sizes = {"vocab_size": config.vocab_size, "context_length": config.context_length}
        plan = build(graph, tensors, **sizes)
        blob = plan.blob if kv == "f16" else with_int8_kv(plan.blob)
        blob = blob if activations == "int12" else with_int8_activations(blob)
        return Program(blob, weights.data_path, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def as_loaded(starter_folder: Path) -> starter.Text:
    """What the core says of the perplexity text in the types that users have."""
    with load(starter_folder) as program:
        return starter.read_text(program)


def compare(got: starter.Text, want: starter.Text, name: str) -> tuple[float, float]:
    """How much worse the perplexity is, as a ratio - 1, and the share of the same first choices."""
    worse = got.perplexity / want.perplexity - 1
    same = float((got.argmax == want.argmax).mean())
    print(
        f"perplexity {got.perplexity:.4f}, {name} {want.perplexity:.4f} ({100 * worse:+.3f} %); "
        f"top-1 agreement {100 * same:.2f} %"
    )
    return worse, same


def test_perplexity_and_agreement_with_transformers(as_loaded: starter.Text) -> None:
    want = starter.text()
    assert len(want.ids) >= 2000
    worse, same = compare(as_loaded, want, "transformers")
    assert abs(worse) <= 0.005
    assert same >= 0.98


def test_an_int8_cache_has_half_the_size_and_the_same_perplexity(
    starter_folder: Path, as_loaded: starter.Text
) -> None:
    with load(starter_folder) as f16, load(starter_folder, "int8") as int8:
        got = starter.read_text(int8)
        assert int8.info.page_bytes <= 0.55 * f16.info.page_bytes
    worse, same = compare(got, as_loaded, "f16")
    assert abs(worse) <= 0.001
    assert same >= 0.98


def test_int8_activations_cost_what_the_documentation_says(
    starter_folder: Path, as_loaded: starter.Text
) -> None:
    with load(starter_folder, activations="int8") as int8:
        got = starter.read_text(int8)
    worse, same = compare(got, as_loaded, "int12")
    assert abs(worse) <= 0.005
    assert 0.97 <= same < 1


def test_the_likeliest_tokens_are_those_of_transformers(starter_folder: Path) -> None:
    want, count = starter.text(), 250
    with load(starter_folder) as program, program.session() as session:
        row = Row(session, want.ids[:count], "all", top_logprobs=20)
        outputs = program.step([row], want_logits=True)
    best = [output.top[0][0] for output in outputs]
    assert (best == want.argmax[:count]).mean() >= 0.98
    off = []
    for output, following, logprob in zip(outputs, want.ids[1:], want.logprobs, strict=False):
        assert output.logits is not None
        logits = output.logits.astype(np.float64)
        log_p = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        order = np.argsort(-logits, kind="stable")[:20]
        assert [token for token, _ in output.top] == order.tolist()
        np.testing.assert_allclose([p for _, p in output.top], log_p[order], atol=1e-4)
        if following in order:
            off.append(abs(dict(output.top)[following] - logprob))
    assert len(off) > count // 2
    # Weights and activations are the quantised ones on our side.
    assert np.mean(off) < 0.05


@pytest.mark.parametrize(("kv", "least"), [("f16", 18), ("int8", 17)])
def test_greedy_tokens_of_twenty_prompts(starter_folder: Path, kv: str, least: int) -> None:
    entries = starter.continuations()
    with load(starter_folder, kv) as program:
        chosen = starter.continue_all(program, entries)
    same = [got == entry["tokens"] for got, entry in zip(chosen, entries, strict=True)]
    # Where transformers' own choice was a near tie, what is rounded may choose the other.
    clear = [entry["smallest_lead"] > 0.05 for entry in entries]
    assert all(s for s, c in zip(same, clear, strict=True) if c)
    assert sum(same) >= least


@pytest.mark.parametrize("isa", EXACT_TIERS)
def test_tiers_agree(starter_folder: Path, isa: str) -> None:
    tokens = starter.text().ids[:24]
    with load(starter_folder, isa=isa) as program, load(starter_folder) as best:
        got = program.step([Row(program.session(), tokens, "all")], want_logits=True)
        want = best.step([Row(best.session(), tokens, "all")], want_logits=True)
    for one, other in zip(got, want, strict=True):
        assert_close(one.logits, other.logits, "q12", isa)


def test_chunks_and_threads_do_not_change_a_bit(starter_folder: Path) -> None:
    tokens = starter.text().ids[:700]
    results = []
    for threads, chunk in ((1, 700), (2, 700), (2, 64)):
        with load(starter_folder, threads=threads, chunk=1024) as program:
            session = program.session()
            for i in range(0, len(tokens), chunk):
                out = program.step([Row(session, tokens[i : i + chunk])], want_logits=True)
            results.append(out[0].logits)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
