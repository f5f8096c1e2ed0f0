"""Sampling: properties over random logits that a one-layer program produces at will.

The program is an embedding read back as logits: token t's logits are row t of a table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cactus.errors import InvalidRequest, ModelClosed
from cactus.graph.node import Graph, Node
from cactus.native import Program, Row, Sampler
from tests.native import programs

VOCAB = 100  # no multiple of 16: the last tile is padded
ROWS = 8
TABLE = np.random.default_rng(0).normal(0, 2, (VOCAB, 112)).astype(np.float32)
TABLE[3, :] = 1.0  # a tie everywhere
TABLE[4, 50] = 60.0  # certainty


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits.astype(np.float64) - logits.max())
    return e / e.sum()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    embed = Node("embed", (), 112, {}, ("table",), None, "embed")
    rows = Node("output_rows", (embed,), 112, {}, (), None, "rows")
    logits = Node("linear", (rows,), VOCAB, {}, ("identity",), None, "logits")
    graph = Graph.of([logits], [], {"table": (VOCAB, 112), "identity": (VOCAB, 112)})
    identity = np.eye(VOCAB, 112, dtype=np.float32)
    path = tmp_path_factory.mktemp("sampler") / "weights"
    packed = programs.store(graph, {"table": TABLE, "identity": identity}, path)
    with programs.load(graph, packed, context=1 << 20, threads=1) as program:
        yield program


def sample(program: Program, token: int, sampler: Sampler | None, count: int = 1) -> list[int]:
    with program.session() as session:
        return [
            program.step([Row(session, [token], "last", sampler)])[0].token for _ in range(count)
        ]


def test_greedy_takes_the_first_of_equals(program: Program) -> None:
    for token in range(VOCAB):
        want = int(np.argmax(TABLE[token, :VOCAB]))
        assert sample(program, token, None) == [want]
        with Sampler() as sampler:
            assert sample(program, token, sampler) == [want]
    assert sample(program, 3, None) == [0]


def test_logprob_and_entropy_are_of_the_raw_logits(program: Program) -> None:
    with program.session() as session, Sampler(temperature=2.0, top_k=5, seed=1) as sampler:
        for token in range(20):
            output = program.step([Row(session, [token], "last", sampler)])[0]
            p = softmax(TABLE[token, :VOCAB])
            entropy = -np.sum(p * np.log(np.maximum(p, 1e-300)))
            assert output.entropy == pytest.approx(entropy, abs=1e-4)
            assert output.logprob == pytest.approx(np.log(p[output.token]), abs=1e-4)


def test_a_seed_repeats_and_another_differs(program: Program) -> None:
    def draw(seed: int | None) -> list[int]:
        with Sampler(temperature=1.5, seed=seed) as sampler:
            return sample(program, 7, sampler, 40)

    assert draw(5) == draw(5) != draw(6)
    assert draw(0) == draw(0) != draw((1 << 64) - 1)
    assert draw(None) != draw(None)


def test_frequencies_follow_the_distribution(program: Program) -> None:
    """Chi-squared over 20,000 draws; a fixed seed makes the verdict repeatable."""
    with Sampler(temperature=1.3, seed=11) as sampler:
        counts = Counter(sample(program, 9, sampler, 20_000))
    expected = softmax(TABLE[9, :VOCAB] / 1.3) * 20_000
    likely = expected >= 5
    chi = sum((counts[i] - expected[i]) ** 2 / expected[i] for i in np.flatnonzero(likely))
    degrees = int(likely.sum())
    assert chi < degrees + 5 * np.sqrt(2 * degrees)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    token=st.integers(5, VOCAB - 1),
    top_k=st.integers(0, 120),
    top_p=st.floats(0, 1),
    min_p=st.floats(0, 1),
    temperature=st.floats(0.01, 5),
    seed=st.integers(0, (1 << 64) - 1),
)
def test_cuts_keep_only_what_they_allow(
    program: Program,
    token: int,
    top_k: int,
    top_p: float,
    min_p: float,
    temperature: float,
    seed: int,
) -> None:
    p = softmax(TABLE[token, :VOCAB] / np.float32(temperature))
    order = np.argsort(-p, kind="stable")
    if top_k:
        order = order[:top_k]
    kept = p[order] / p[order].sum()
    mass_before = np.cumsum(kept) - kept
    allowed = {
        int(t)
        for t, before, own in zip(order, mass_before, kept, strict=True)
        if (before < top_p + 1e-5 and own >= min_p * kept[0] * (1 - 1e-4)) or t == order[0]
    }
    options = {"top_k": top_k, "top_p": top_p, "min_p": min_p, "temperature": temperature}
    with Sampler(**options, seed=seed) as sampler:
        assert set(sample(program, token, sampler, 10)) <= allowed


@pytest.mark.fault("F33")
def test_top_k_one_and_tiny_top_p_are_greedy(program: Program) -> None:
    for options in ({"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}, {"temperature": 1e-4}):
        with Sampler(**{"temperature": 1.0, "seed": 3, **options}) as sampler:
            assert sample(program, 12, sampler, 20) == [int(np.argmax(TABLE[12, :VOCAB]))] * 20


def test_penalties_count_only_their_own_sampler(program: Program) -> None:
    best = [int(t) for t in np.argsort(-TABLE[20, :VOCAB])[:3]]
    with Sampler(presence_penalty=100.0) as sampler, Sampler(presence_penalty=100.0) as other:
        assert sample(program, 20, sampler, 3) == best
        assert sample(program, 20, other) == best[:1]
    with Sampler(repetition_penalty=1000.0) as sampler:
        sampler.accept([best[0]])
        assert sample(program, 20, sampler) == best[1:2]
    gap = float(TABLE[20, best[0]] - TABLE[20, best[1]])
    with Sampler(frequency_penalty=gap / 2.5) as sampler:
        assert sample(program, 20, sampler, 4) == [best[0], best[0], best[0], best[1]]


def only(*tokens: int) -> np.ndarray:
    mask = np.zeros(4, np.uint32)
    for token in tokens:
        mask[token // 32] |= np.uint32(1 << (token % 32))
    return mask


def test_the_repetition_penalty_sees_the_prompt_and_the_others_do_not(program: Program) -> None:
    best = [int(t) for t in np.argsort(-TABLE[20, :VOCAB])[:3]]
    with Sampler(repetition_penalty=1000.0, prompt=[5, best[0], 7]) as sampler:
        assert sample(program, 20, sampler) == best[1:2]
    with Sampler(presence_penalty=100.0, repetition_penalty=1.0001, prompt=best) as sampler:
        assert sample(program, 20, sampler, 2) == best[:2]


def test_the_repetition_penalty_divides_above_zero_and_multiplies_below(program: Program) -> None:
    """transformers' RepetitionPenaltyLogitsProcessor: where(score < 0, score * p, score / p)."""
    logits = TABLE[21, :VOCAB].copy()
    prompt = [int(t) for t in np.argsort(-logits)[:60]]  # some above zero, some below
    assert (logits[prompt] > 0).any() and (logits[prompt] < 0).any()
    for penalty in (0.5, 1.2, 3.0):
        score = logits[prompt]
        want = logits.copy()
        want[prompt] = np.where(score < 0, score * penalty, score / penalty)
        with Sampler(repetition_penalty=penalty, prompt=prompt * 2) as sampler:
            assert sample(program, 21, sampler) == [int(np.argmax(want))]


def test_the_repetition_window_forgets(program: Program) -> None:
    best = [int(t) for t in np.argsort(-TABLE[20, :VOCAB])[:4]]
    with Sampler(repetition_penalty=1000.0, repetition_window=2, prompt=[best[0], 1, 2]) as sampler:
        # best[0] has left the window; what is chosen enters it, and leaves it two tokens later.
        assert sample(program, 20, sampler, 6) == [*best[:3], *best[:3]]
    with Sampler(repetition_penalty=1000.0, repetition_window=1000) as sampler:
        assert sample(program, 20, sampler, 4) == best


def test_many_tokens_are_accepted_in_one_call(program: Program) -> None:
    best = [int(t) for t in np.argsort(-TABLE[20, :VOCAB])[:4]]
    with Sampler(presence_penalty=100.0) as sampler:
        sampler.accept(best[:3])
        sampler.accept([])
        assert sample(program, 20, sampler) == best[3:]
        with pytest.raises(InvalidRequest, match="negative"):
            sampler.accept([1, -1])


def test_a_bias_is_added(program: Program) -> None:
    with Sampler(logit_bias={42: 100.0}) as sampler:
        assert sample(program, 30, sampler, 2) == [42, 42]


def test_a_mask_is_of_the_next_step_only(program: Program) -> None:
    best = sample(program, 30, None)[0]
    for temperature in (0.0, 1e-3):
        with Sampler(temperature=temperature) as sampler:
            sampler.allow(only(77))
            assert sample(program, 30, sampler, 2) == [77, best]
            sampler.allow(only(77))
            sampler.allow(None)
            assert sample(program, 30, sampler) == [best]


def test_a_step_that_fails_keeps_mask_and_random_state(program: Program) -> None:
    with Sampler(temperature=5.0, seed=1) as sampler, Sampler(temperature=5.0, seed=1) as other:
        sampler.allow(only(*range(10, 90)))
        other.allow(only(*range(10, 90)))
        with program.session() as session, program.session() as second, Sampler() as refusing:
            refusing.allow(np.zeros(4, np.uint32))
            rows = [Row(session, [1], "last", sampler), Row(second, [1], "last", refusing)]
            with pytest.raises(InvalidRequest, match="mask allows no token"):
                program.step(rows)
        assert sample(program, 9, sampler, 5) == sample(program, 9, other, 5)


def test_each_output_of_a_row_has_a_mask_of_its_own(program: Program) -> None:
    with program.session() as session, Sampler() as sampler:
        sampler.allow(np.stack([only(7), only(80, 81), only(99)]))
        outputs = program.step([Row(session, [30, 3, 30], "all", sampler)])
        assert [output.token for output in outputs] == [7, 80, 99]
        sampler.allow(only(7))
        with pytest.raises(InvalidRequest, match="3 outputs and its sampler 1 masks"):
            program.step([Row(session, [30, 30, 30], "all", sampler)])


def test_a_mask_of_no_words_is_refused(program: Program) -> None:
    with Sampler() as sampler:
        for masks in (np.zeros(0, np.uint32), np.zeros((0, 4), np.uint32)):
            with pytest.raises(InvalidRequest, match="no words"):
                sampler.allow(masks)
        with pytest.raises(InvalidRequest, match="expected uint32"):
            sampler.allow(np.zeros(4, np.int64))  # type: ignore[arg-type]


def test_a_mask_that_allows_nothing_is_an_error_and_the_next_call_works(program: Program) -> None:
    for options in ({}, {"temperature": 1.0}, {"logit_bias": {5: 50.0}}):
        with Sampler(**options) as sampler:  # type: ignore[arg-type]
            sampler.allow(np.zeros(4, np.uint32))
            with pytest.raises(InvalidRequest, match="mask allows no token"):
                sample(program, 1, sampler)
    assert sample(program, 4, None) == [50]


@pytest.mark.fault("F33")
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("temperature", -1.0),
        ("temperature", float("nan")),
        ("temperature", 1e30),
        ("top_p", 2.0),
        ("top_p", -0.1),
        ("top_p", float("nan")),
        ("min_p", 1.5),
        ("top_k", -1),
        ("top_k", 1 << 31),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", float("inf")),
        ("presence_penalty", 1e9),
        ("frequency_penalty", float("nan")),
        ("repetition_window", 0),
        ("repetition_window", 1 << 31),
        ("seed", 1 << 64),
        ("seed", -1),
        ("logit_bias", {-1: 1.0}),
        ("logit_bias", {1: float("nan")}),
        ("logit_bias", {1: 1e308}),
    ],
)
def test_options_out_of_range_are_refused(option: str, value: object) -> None:
    with pytest.raises(InvalidRequest, match=option.replace("logit_bias", "logit.bias")):
        Sampler(**{option: value})


def test_a_closed_sampler_is_refused(program: Program) -> None:
    sampler = Sampler()
    sampler.close()
    sampler.close()
    with pytest.raises(ModelClosed, match="sampler"):
        sample(program, 1, sampler)


@pytest.mark.fault("F33")
def test_hostile_extremes_never_give_a_token_outside(program: Program, tmp_path: Path) -> None:
    with Sampler(
        temperature=1e6, repetition_penalty=1e3, logit_bias={0: -1e6, 99: 1e6}, seed=2
    ) as s:
        assert all(0 <= t < VOCAB for t in sample(program, 4, s, 200))


def test_a_sampler_that_goes_back_draws_the_same_again(program: Program) -> None:
    with program.session() as session, Sampler(temperature=1.5, seed=3) as sampler:

        def draw(count: int) -> list[int]:
            row = Row(session, [7] * count, "all", sampler)
            return [output.token for output in program.step([row])]

        first = draw(6)
        sampler.rewind(2)
        assert draw(3) == first[2:5]
        sampler.rewind(0)
        assert draw(6) == first
        sampler.rewind(4)
        assert draw(2) == first[4:]


@pytest.mark.parametrize("name", ["repetition_penalty", "presence_penalty", "frequency_penalty"])
def test_a_sampler_that_counts_its_tokens_cannot_go_back(name: str) -> None:
    with Sampler(**{name: 1.5}) as sampler, pytest.raises(InvalidRequest, match="cannot go back"):
        sampler.rewind(0)
