"""What sampling draws has the distribution of its formula, for every option and shape of logits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cactus.errors import InvalidRequest
from cactus.native import Program, Row, Sampler
from tests.native import programs
from tests.native.sampling_cases import (
    OPTIONS,
    SHAPES,
    logits_of,
    probabilities,
    store,
)

VOCAB = 2101  # five slices of logits, the last one not full
CHUNK = 250
DRAWS = {"model": 100_000}
FEWER_DRAWS = 20_000  # of the other shapes
LOGITS = logits_of(VOCAB)
TOKENS = {name: token for token, name in enumerate(SHAPES)}

Opened = tuple[Program, str]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return store(VOCAB, tmp_path_factory.mktemp("sampling") / "weights")


@pytest.fixture(scope="module")
def program(stored: Any) -> Iterator[Program]:
    graph, packed = stored
    with programs.load(graph, packed, context=1 << 20, threads=1) as program:
        yield program


def draw(
    program: Program, shape: str, samplers: list[Sampler], count: int, masks: Any = None
) -> Iterator[list[int]]:
    """`count` tokens in steps of CHUNK: those of one step do not count for each other.

    Each of the samplers draws its part of a step; two of them at the same time.
    """
    part = CHUNK // len(samplers)
    sessions = [program.session() for _ in samplers]
    for _ in range(count // CHUNK):
        if masks is not None:
            for sampler in samplers:
                sampler.allow(np.tile(masks, (part, 1)))
        rows = [
            Row(session, [TOKENS[shape]] * part, "all", sampler)
            for session, sampler in zip(sessions, samplers, strict=True)
        ]
        yield [output.token for output in program.step(rows)]
        for session in sessions:
            session.truncate(0)
    for session in sessions:
        session.close()


def assert_follows(counts: np.ndarray, expected: np.ndarray) -> None:
    """Pearson's chi-squared, within five deviations; what is expected less than 5 times is one."""
    assert not counts[expected == 0].any(), np.flatnonzero((expected == 0) & (counts > 0))
    likely = expected >= 5
    got = np.append(counts[likely], counts[~likely].sum())
    want = np.append(expected[likely], expected[~likely].sum())
    chi = float(np.sum((got - want)[want > 0] ** 2 / want[want > 0]))
    degrees = max(1, int((want > 0).sum()) - 1)
    assert chi < degrees + 5 * np.sqrt(2 * degrees), f"{chi:.1f} at {degrees} degrees of freedom"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OPTIONS)
def test_draws_follow_the_formula(program: Program, name: str, shape: str) -> None:
    options, prompt = OPTIONS[name], list(range(0, VOCAB, 3))
    if shape == "large" and "repetition_penalty" in options:
        options = options | {"repetition_penalty": 1.0002}
    penalised = "repetition_penalty" in options
    expected, count = np.zeros(VOCAB), DRAWS.get(shape, FEWER_DRAWS)
    answer = np.zeros(count, np.int64)
    samplers = [
        Sampler(**options, seed=seed, prompt=prompt) for seed in ((11,) if penalised else (11, 12))
    ]
    for step, tokens in enumerate(draw(program, shape, samplers, count)):
        drawn = step * CHUNK
        if penalised or not drawn:
            law = probabilities(LOGITS[shape], prompt, answer[:drawn], **options)
        expected += CHUNK * law
        answer[drawn : drawn + CHUNK] = tokens
    for sampler in samplers:
        sampler.close()
    assert_follows(np.bincount(answer, minlength=VOCAB), expected)


@pytest.mark.parametrize("name", ["temperature", "top_p", "top_k", "all_cuts"])
@pytest.mark.parametrize("shape", ["model", "ties"])
def test_draws_under_a_mask_follow_the_formula(program: Program, name: str, shape: str) -> None:
    random = np.random.default_rng(3)
    allowed = random.random(VOCAB) < 0.3
    allowed[64:128], allowed[1024:2048], allowed[-20:] = True, False, False
    allowed[VOCAB // 32 * 32 :] = False
    # What lies behind the words is not allowed.
    masks = np.packbits(allowed, bitorder="little")[: VOCAB // 32 * 4].view(np.uint32)
    law = probabilities(LOGITS[shape], allowed=allowed, **OPTIONS[name])
    with Sampler(**OPTIONS[name], seed=5) as one, Sampler(**OPTIONS[name], seed=6) as other:
        answer = [t for part in draw(program, shape, [one, other], 20_000, masks) for t in part]
    assert_follows(np.bincount(answer, minlength=VOCAB), law * 20_000)


def test_a_seed_gives_the_same_tokens_on_every_tier_and_number_of_threads(stored: Any) -> None:
    graph, packed = stored
    found = {}
    tiers = [tier for tier in programs.EXACT_TIERS if tier != "scalar"]
    for tier, threads in [(tier, threads) for tier in tiers for threads in (1, 2)]:
        with programs.load(graph, packed, isa=tier, threads=threads) as program:
            drawn = []
            for options in OPTIONS.values():
                for shape in SHAPES:
                    with Sampler(**options, seed=99, prompt=[1, 2, 3]) as sampler:
                        drawn += list(draw(program, shape, [sampler], CHUNK))
            found[tier, threads] = drawn
    first = next(iter(found.values()))
    assert all(drawn == first for drawn in found.values())


def together(program: Program, samplers: list[Sampler], steps: int) -> list[list[int]]:
    """Tokens of steps in which each sampler has a session of its own."""
    sessions = [program.session() for _ in samplers]
    shapes = [n % len(SHAPES) for n in range(len(samplers))]
    rows = [
        Row(session, [shape] * (1 + n % 3), "all", sampler)
        for n, (session, shape, sampler) in enumerate(zip(sessions, shapes, samplers, strict=True))
    ]
    drawn = [[output.token for output in program.step(rows)] for _ in range(steps)]
    for session in sessions:
        session.close()
    return drawn


@pytest.mark.parametrize("shared", [False, True], ids=["of their own", "one for all"])
def test_samplers_of_one_step_draw_the_same_on_any_number_of_threads(
    stored: Any, shared: bool
) -> None:
    """Threads share the rows; those of one sampler are drawn in their order all the same."""
    graph, packed = stored
    found = []
    for threads in (1, 2, 5):
        with programs.load(graph, packed, threads=threads) as program:
            options = {"temperature": 1.3, "top_p": 0.97, "frequency_penalty": 0.4}
            samplers = [Sampler(**options, seed=n) for n in range(1 if shared else 11)]
            found.append(together(program, samplers * 11 if shared else samplers, 4))
            for sampler in samplers:
                sampler.close()
    assert found[0] == found[1] == found[2]
    assert len({tuple(tokens) for tokens in found[0]}) > 1


def test_a_mask_that_allows_nothing_fails_the_step_of_all_and_changes_nobody(stored: Any) -> None:
    graph, packed = stored
    with programs.load(graph, packed, threads=2) as program:
        samplers = [Sampler(temperature=1.0, seed=n) for n in range(8)]
        expected = together(program, [Sampler(temperature=1.0, seed=n) for n in range(8)], 1)
        for bad in (0, 5, 7):
            samplers[bad].allow(np.zeros((1 + bad % 3, 1), np.uint32))
            with pytest.raises(InvalidRequest, match="the mask allows no token"):
                together(program, samplers, 1)
            samplers[bad].allow(None)
        assert together(program, samplers, 1) == expected


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "top_p": 0.5}])
def test_the_logits_are_put_back(program: Program, options: dict[str, Any]) -> None:
    """What penalties, biases and masks change is not seen by anybody else."""
    bias = {token: 5.0 for token in range(0, VOCAB, 7)}
    with (
        program.session() as session,
        Sampler(
            **options,
            logit_bias=bias,
            repetition_penalty=1.5,
            presence_penalty=1.0,
            seed=1,
            prompt=range(0, VOCAB, 5),
        ) as sampler,
    ):
        sampler.accept([3, 3, 7])
        sampler.allow(np.full(66, 0x0F0F0F0F, np.uint32))
        row = Row(session, [0], "last", sampler, top_logprobs=5)
        (output,) = program.step([row], want_logits=True)
        assert np.array_equal(output.logits, LOGITS["model"])
        assert output.token % 8 < 4
        plain = program.step([Row(session, [0], "last", top_logprobs=5)])[0]
        assert (plain.top, plain.entropy) == (output.top, output.entropy)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 5, 20])
def test_the_likeliest_tokens_are_named(program: Program, shape: str, count: int) -> None:
    logits = LOGITS[shape].astype(np.float64)
    log_p = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
    order = np.lexsort((np.arange(VOCAB), -logits))[:count]
    with program.session() as session, Sampler(temperature=2.0, seed=1) as sampler:
        row = Row(session, [TOKENS[shape]] * 2, "all", sampler, top_logprobs=count)
        for output in program.step([row]):
            assert [token for token, _ in output.top] == order.tolist()
            assert np.allclose([p for _, p in output.top], log_p[order], atol=1e-4)
            assert output.logprob == pytest.approx(log_p[output.token], abs=1e-4)


def test_each_row_has_its_own_number_of_likeliest_tokens(program: Program) -> None:
    with program.session() as a, program.session() as b, program.session() as c:
        rows = [
            Row(a, [1], "last", top_logprobs=3),
            Row(b, [2, 0], "all"),
            Row(c, [0], "last", top_logprobs=1),
        ]
        outputs = program.step(rows)
    assert [len(output.top) for output in outputs] == [3, 0, 0, 1]
    assert outputs[3].top == ((outputs[2].token, outputs[2].logprob),)


def test_more_likeliest_tokens_than_the_vocabulary_has_are_refused(program: Program) -> None:
    with program.session() as session:
        row = Row(session, [0], "last", top_logprobs=VOCAB + 1)
        with pytest.raises(InvalidRequest, match=r"rows\[0\].n_top is 2102.*2101 tokens"):
            program.step([row])
        row = Row(session, [0], "last", top_logprobs=VOCAB)
        assert len(program.step([row])[0].top) == VOCAB
