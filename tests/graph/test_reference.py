"""The reference program: batches, sessions, choices and refusals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from cactus.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    ModelClosed,
    ModelFormatError,
    NonFiniteLogits,
)
from cactus.graph.reference import ReferenceProgram, ReferenceSampler
from cactus.graph.reference_ops import hadamard, int8_keys, int8_rounded
from cactus.graph.step import Row
from tests.models.golden import load, reference, run_all
from tests.tolerances import nmse

# Rows of one matrix product may be summed in another order than the same rows in another product.
BLAS = {"rtol": 2e-5, "atol": 2e-5}

HYBRID_AND_NOT = ("llama", "lfm2")


@pytest.fixture(params=HYBRID_AND_NOT)
def program(request: pytest.FixtureRequest) -> Iterator[ReferenceProgram]:
    golden = load(request.param)
    yield reference(golden, golden.fused())


def logits(program: ReferenceProgram, session: Any, tokens: list[int]) -> np.ndarray:
    """The logits of all ``tokens``, in one step."""
    outputs = program.step([Row(session, tokens, "all")], want_logits=True)
    return np.stack([output.logits for output in outputs])


def prompts() -> list[list[int]]:
    draw = np.random.default_rng(5)
    return [draw.integers(0, 250, n).tolist() for n in (7, 1, 23, 12, 40)]


def test_a_ragged_batch_is_its_sequences_one_by_one(program: ReferenceProgram) -> None:
    alone = [run_all(program, tokens) for tokens in prompts()]
    rows = [Row(program.session(), tokens, "all") for tokens in prompts()]
    together = program.step(rows, want_logits=True)
    got = np.stack([output.logits for output in together])
    np.testing.assert_allclose(got, np.concatenate(alone), **BLAS)
    # And they go on apart: one token each, in another order.
    follow = program.step([Row(row.session, [3]) for row in reversed(rows)], want_logits=True)
    for tokens, output in zip(prompts(), reversed(follow), strict=True):
        np.testing.assert_allclose(output.logits, run_all(program, [*tokens, 3])[-1], **BLAS)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_prefill_in_chunks_is_the_whole(program: ReferenceProgram, chunk: int) -> None:
    tokens = [token for prompt in prompts() for token in prompt]
    session = program.session()
    parts = [logits(program, session, tokens[i : i + chunk]) for i in range(0, len(tokens), chunk)]
    np.testing.assert_allclose(np.concatenate(parts), run_all(program, tokens), **BLAS)


def test_truncated_is_recomputed(program: ReferenceProgram) -> None:
    tokens, others = prompts()[4], prompts()[2]
    session = program.session()
    logits(program, session, tokens)
    for length in (33, 10, 1, 0):
        assert session.truncate(length) == session.length == length
        got = logits(program, session, others)
        want = run_all(program, tokens[:length] + others)[length:]
        np.testing.assert_allclose(got, want, **BLAS)


def test_a_fork_and_its_origin_go_their_own_ways(program: ReferenceProgram) -> None:
    start, left, right = prompts()[2], prompts()[0], prompts()[3]
    origin = program.session()
    logits(program, origin, start)
    fork = origin.fork()
    assert fork.length == origin.length == len(start)
    got_left = logits(program, origin, left)
    got_right = logits(program, fork, right)
    n = len(start)
    np.testing.assert_allclose(got_left, run_all(program, start + left)[n:], **BLAS)
    np.testing.assert_allclose(got_right, run_all(program, start + right)[n:], **BLAS)


def test_a_snapshot_can_be_restored_again_and_again(program: ReferenceProgram) -> None:
    start, other = prompts()[2], prompts()[0]
    session = program.session()
    logits(program, session, start)
    snapshot = session.snapshot()
    want = logits(program, session, other)
    session.truncate(3)
    logits(program, session, prompts()[3])
    for target in (session, program.session(), session):
        target.restore(snapshot)
        assert target.length == snapshot.length == len(start)
        np.testing.assert_array_equal(logits(program, target, other), want)


def test_outputs_last_all_none(program: ReferenceProgram) -> None:
    a, b, c = (program.session() for _ in range(3))
    rows = [Row(a, [1, 2, 3], "last"), Row(b, [4, 5], "none"), Row(c, [6, 7], "all")]
    outputs = program.step(rows, want_logits=True)
    assert len(outputs) == 3
    wanted = [run_all(program, [1, 2, 3])[-1:], run_all(program, [6, 7])]
    got = np.stack([output.logits for output in outputs])
    np.testing.assert_allclose(got, np.concatenate(wanted), **BLAS)
    assert [session.length for session in (a, b, c)] == [3, 2, 2]
    assert program.step([Row(b, [6], "none")]) == []


def test_outputs_say_what_softmax_says(program: ReferenceProgram) -> None:
    output = program.step([Row(program.session(), [5, 9])], want_logits=True)[0]
    assert output.logits is not None
    p = np.exp(output.logits.astype(np.float64))
    p /= p.sum()
    assert output.token == int(np.argmax(p))
    assert output.logprob == pytest.approx(np.log(p.max()))
    assert output.entropy == pytest.approx(-np.sum(p * np.log(p)))
    assert program.step([Row(program.session(), [5, 9])])[0].logits is None


def test_the_lower_id_wins_a_tie() -> None:
    golden = load("llama_untied")
    tensors = dict(golden.tensors)
    tensors["lm_head.weight"] = np.zeros_like(tensors["lm_head.weight"])
    program = ReferenceProgram(golden.graph, tensors)
    output = program.step([Row(program.session(), [5])])[0]
    assert output.token == 0
    assert output.entropy == pytest.approx(np.log(300))


def test_bias_and_mask_change_the_choice_but_not_the_numbers() -> None:
    program = reference(load("llama"))
    session = program.session()
    plain = program.step([Row(session, [5])])[0]
    biased = program.step(
        [Row(program.session(), [5], sampler=ReferenceSampler(logit_bias={77: 1e4}))]
    )[0]
    assert biased.token == 77
    assert biased.entropy == plain.entropy
    assert biased.logprob < plain.logprob
    sampler = ReferenceSampler(temperature=0.0, top_k=40, seed=1)
    allowed = [13, 40, 200]
    mask = np.zeros(256 // 32, np.uint32)
    for token in allowed:
        mask[token // 32] |= np.uint32(1 << token % 32)
    sampler.allow(mask)
    assert program.step([Row(program.session(), [5], sampler=sampler)])[0].token in allowed


@pytest.mark.parametrize(
    "options", [{"temperature": 0.7}, {"repetition_penalty": 1.1}, {"presence_penalty": 0.5}]
)
def test_the_reference_sampler_refuses_what_it_does_not_do(options: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest, match="temperature 0"):
        ReferenceSampler(**options)  # type: ignore[arg-type]


def test_the_dump_has_every_node() -> None:
    golden = load("lfm2")
    program = reference(golden, golden.fused("q8"))
    run_all(program, golden.tokens)
    assert set(program.dump) == {node.name for node in program.graph.nodes}
    for node in program.graph.nodes:
        assert program.dump[node.name].shape == (len(golden.tokens), node.width)
        assert program.dump[node.name].dtype == np.float32


def test_refused_steps_leave_the_sessions_alone() -> None:
    golden = load("lfm2")
    program = reference(golden, context_length=12, chunk=10)
    session, other = program.session(), program.session()
    program.step([Row(session, [1, 2, 3])])
    stranger = reference(golden).session()
    refused: list[tuple[list[Row], str]] = [
        ([], "want 1 to 10 tokens in all, got 0"),
        ([Row(session, [])], "got 0"),
        ([Row(session, [1]), Row(other, [])], "no tokens"),
        ([Row(session, [1] * 6), Row(other, [1] * 5)], "got 11"),
        ([Row(session, [1]), Row(session, [2])], "twice"),
        ([Row(session, [256])], "from 0 to 255, got 256"),
        ([Row(session, [-1])], "got -1"),
        ([Row(stranger, [1])], "another program"),
    ]
    for rows, message in refused:
        with pytest.raises(InvalidRequest, match=message):
            program.step(rows)
    with pytest.raises(ContextLengthExceeded) as error:
        program.step([Row(session, [1] * 10)])
    assert (error.value.prompt_tokens, error.value.limit) == (13, 12)
    assert (session.length, other.length) == (3, 0)
    np.testing.assert_allclose(
        logits(program, session, [4])[0], run_all(program, [1, 2, 3, 4])[-1], **BLAS
    )
    for length in (-1, 5):
        with pytest.raises(InvalidRequest, match="from 0 to 4"):
            session.truncate(length)
    with pytest.raises(InvalidRequest, match="another program"):
        session.restore(stranger.snapshot())


def test_a_closed_session_says_so() -> None:
    program = reference(load("llama"))
    session = program.session()
    session.close()
    session.close()
    for use in (session.snapshot, session.fork, lambda: session.truncate(0)):
        with pytest.raises(ModelClosed):
            use()
    with pytest.raises(ModelClosed):
        program.step([Row(session, [1])])


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_damaged_weights_are_an_error_not_an_answer(value: float) -> None:
    golden = load("llama")
    tensors = dict(golden.tensors)
    name = "model.layers.1.mlp.down_proj.weight"
    tensors[name] = tensors[name].copy()
    tensors[name][3, :] = value
    program = ReferenceProgram(golden.graph, tensors)
    session = program.session()
    with pytest.raises(NonFiniteLogits):
        program.step([Row(session, [1, 2])])
    assert session.length == 0


def test_missing_and_misshapen_tensors_are_named() -> None:
    golden = load("llama")
    name = "model.norm.weight"
    tensors = {key: value for key, value in golden.tensors.items() if key != name}
    with pytest.raises(ModelFormatError, match=r"model\.norm\.weight \[64\] is missing"):
        ReferenceProgram(golden.graph, tensors)
    with pytest.raises(ModelFormatError, match=r"want \[64\], got \[65\]"):
        ReferenceProgram(golden.graph, {**tensors, name: np.ones(65, np.float32)})


def test_int8_is_half_a_step_off_at_most_and_hides_nothing() -> None:
    rows = np.random.default_rng(3).normal(size=(5, 64)).astype(np.float32)
    rows[0, :32] = 0
    rows[1, 32:] *= 1e-30
    got = int8_rounded(rows, 32)
    largest = np.abs(rows.reshape(5, 2, 32)).max(axis=2).repeat(32, axis=1)
    assert (np.abs(got - rows) <= largest / 253).all()
    assert (np.abs(got).max(axis=1) > 0).all()
    rows[2, 3], rows[3, 40] = np.nan, -np.inf
    with np.errstate(all="ignore"):
        bad = np.isnan(int8_rounded(rows, 32))
    assert bad[2, :32].all() and bad[3, 32:].all() and bad.sum() == 64


@pytest.mark.parametrize("head_dim", [16, 64, 80])
def test_keys_are_mixed_so_that_a_large_number_costs_the_others_less(head_dim: int) -> None:
    keys = np.random.default_rng(4).normal(size=(50, 2 * head_dim)).astype(np.float32)
    keys[:, 3] = 30
    size = np.float32(head_dim & -head_dim)
    mixed = hadamard(keys, head_dim)
    np.testing.assert_allclose(hadamard(mixed, head_dim) / size, keys, atol=1e-5)
    products = mixed[:, :head_dim] @ mixed[:, :head_dim].T
    np.testing.assert_allclose(
        products / size, keys[:, :head_dim] @ keys[:, :head_dim].T, atol=1e-3
    )
    got = hadamard(int8_rounded(mixed, head_dim), head_dim) / size
    assert nmse(got, keys) < 0.5 * nmse(int8_rounded(keys, head_dim), keys)


@pytest.mark.parametrize(("head_dim", "group"), [(64, 1), (64, 3), (128, 12)])
def test_keys_are_rounded_for_queries_like_those_of_their_position(
    head_dim: int, group: int
) -> None:
    source = np.random.default_rng(5)
    common = source.normal(size=(group, head_dim))
    near, later = 3 * common + source.normal(size=(2, 200, group, head_dim))
    keys = source.normal(size=(200, head_dim)).astype(np.float32)
    plain = int8_rounded(keys, head_dim)
    got = int8_keys(keys, near.astype(np.float32).reshape(200, -1), head_dim)
    step = np.abs(keys).max(axis=1, keepdims=True) / 127
    assert (np.abs(got - keys) <= step * 1.0001).all()
    assert (np.abs(got) <= 127.01 * step).all()
    assert 0 < (got != plain).mean() < 0.1
    lost = [np.einsum("kd,tgd->ktg", rounded - keys, later).std() for rounded in (got, plain)]
    assert lost[0] < 0.8 * lost[1]


def test_keys_without_queries_to_suit_are_rounded_to_the_nearest() -> None:
    keys = np.random.default_rng(6).normal(size=(4, 64)).astype(np.float32)
    keys[3] = 0
    near = np.zeros((4, 128), np.float32)
    near[1], near[2, 5], near[3] = 1e20, np.nan, 1
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(int8_keys(keys, near, 64), int8_rounded(keys, 64))


def test_f16_keys_and_values_are_clamped_not_infinite() -> None:
    golden = load("llama")
    tensors = dict(golden.tensors)
    for layer in range(2):
        name = f"model.layers.{layer}.self_attn.v_proj.weight"
        tensors[name] = tensors[name] * np.float32(1e6)
    program = ReferenceProgram(golden.graph, tensors, kv_dtype="f16")
    assert np.isfinite(run_all(program, golden.tokens)).all()
