"""Equalities without a tolerance: however rows are split, batched or replayed, the bits agree."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from cactus.errors import InvalidRequest
from cactus.graph.node import Graph
from cactus.native import Program, Row
from tests.models import golden
from tests.native import programs
from tests.native.conftest import Packed
from tests.native.programs import DECODER_DTYPES, EXACT_TIERS, TIERS
from tests.tolerances import assert_close

KINDS = [
    *((name, dtype, "f16", "int12") for name in ("llama", "lfm2") for dtype in DECODER_DTYPES),
    ("llama", "q4", "int8", "int12"),
    ("lfm2", "f16", "int8", "int12"),
    *(("llama", dtype, "f16", "int8") for dtype in ("q4", "q4_64", "q4_0", "q4_nl", "q8")),
    ("lfm2", "q4", "int8", "int8"),
    # A window, a bias.
    ("gemma3_text", "q4_64", "f16", "int12"),
    ("gemma3_text", "q8", "int8", "int8"),
    ("lfm2", "q8_64", "f16", "int12"),
    ("llama", "q8_64", "f16", "int8"),
    ("qwen2", "q4_0", "f16", "int12"),
]
"""Architecture, and the types of the matrices, of the cache, and of activations."""
STATES = [
    *(("llama", "q4", "f16", "int12"), ("llama", "q8", "int8", "int12")),
    *(("lfm2", "f16", "f16", "int12"), ("lfm2", "q4", "int8", "int8")),
    *(("gemma3_text", "q4_64", "f16", "int12"), ("gemma3_text", "q8", "int8", "int8")),
]
"""Those for what a session remembers, where the type of the matrices says nothing."""
of_states = pytest.mark.parametrize("model", STATES, ids="-".join, indirect=True)
LENGTH = 600  # over two pages of keys and values


def prompt(seed: int, length: int, vocab: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, vocab, length).tolist()


Loaded = tuple[Graph, programs.Store, str, str]


@pytest.fixture(params=KINDS, ids="-".join)
def model(request: pytest.FixtureRequest, packed: Packed) -> Loaded:
    name, dtype, *types = request.param
    return programs.fused(golden.load(name).graph, dtype), packed(name, dtype), *types


@pytest.fixture
def program(model: Loaded) -> Iterator[Program]:
    with programs.load(*model, threads=2, chunk=1024) as program:
        yield program


def whole(program: Program, tokens: list[int]) -> np.ndarray:
    return programs.prefill(program, program.session(), tokens, len(tokens))


@pytest.mark.parametrize("chunk", [1, 7, 64, 512])
def test_chunks_equal_the_whole(program: Program, chunk: int) -> None:
    tokens = prompt(1, LENGTH, program.vocab_size)
    got = programs.prefill(program, program.session(), tokens, chunk)
    np.testing.assert_array_equal(got, whole(program, tokens))


@pytest.mark.parametrize("isa", TIERS)
def test_one_thread_equals_two_three_and_more_than_a_matrix_has_tiles(
    model: Loaded, isa: str
) -> None:
    results = []
    for threads in (1, 2, 3, 9) if isa in (TIERS[0], TIERS[-1]) else (1, 2, 3):
        with programs.load(*model, threads=threads, isa=isa, chunk=1024) as program:
            tokens = prompt(2, 300, program.vocab_size)
            session = program.session()
            first = programs.prefill(program, session, tokens, 290)
            # Decoding over two pages is split by pages between the threads.
            rest = programs.prefill(program, session, tokens[:8], 1)
            results.append(np.concatenate([first, rest]))
    for result in results[1:]:
        np.testing.assert_array_equal(results[0], result)


def test_tiers_agree(model: Loaded) -> None:
    """All but scalar do the same operations on the same lanes; scalar rounds a product more.

    amx multiplies 16-bit weights in another way, and quantised ones in the same.
    """
    splits = not any(stored.dtype.startswith("q") for stored in model[1].tensors.values())
    results = {}
    for isa in EXACT_TIERS:
        with programs.load(*model, threads=1, isa=isa) as program:
            results[isa] = whole(program, prompt(3, 100, program.vocab_size))
    scalar = results.pop("scalar")
    for isa in ("amx", "amx_bf16"):
        if splits and isa in results:
            assert_close(results.pop(isa), scalar, "split")
    for got in results.values():
        np.testing.assert_array_equal(got, next(reversed(results.values())))
        assert_close(got, scalar, "q12")


def test_a_ragged_batch_equals_its_rows_alone(program: Program) -> None:
    pasts = [prompt(10 + i, n, program.vocab_size) for i, n in enumerate((1, 3, 40, 255, 300))]
    news = [prompt(20 + i, n, program.vocab_size) for i, n in enumerate((5, 1, 130, 2, 1))]
    alone = []
    for past, new in zip(pasts, news, strict=True):
        session = program.session()
        programs.prefill(program, session, past, 256)
        alone.append(programs.prefill(program, session, new, len(new)))
    sessions = [program.session() for _ in pasts]
    for session, past in zip(sessions, pasts, strict=True):
        programs.prefill(program, session, past, 100)
    rows = [Row(s, new, "all") for s, new in zip(sessions, news, strict=True)]
    together = programs.logits_of(program.step(rows, want_logits=True))
    np.testing.assert_array_equal(together, np.concatenate(alone))


@of_states
def test_decoding_together_equals_decoding_alone(program: Program) -> None:
    starts = [prompt(30 + i, n, program.vocab_size) for i, n in enumerate((2, 9, 70, 250, 258))]
    alone = [golden.greedy(program, start, 12) for start in starts]
    sessions = [program.session() for _ in starts]
    rows = [Row(s, start) for s, start in zip(sessions, starts, strict=True)]
    chosen: list[list[int]] = [[] for _ in starts]
    for _ in range(12):
        for tokens, output in zip(chosen, program.step(rows), strict=True):
            tokens.append(output.token)
        rows = [Row(s, tokens[-1:]) for s, tokens in zip(sessions, chosen, strict=True)]
    assert chosen == alone


def recompute(program: Program, tokens: list[int]) -> tuple[np.ndarray, object]:
    session = program.session()
    return programs.prefill(program, session, tokens, 97), session


@of_states
@pytest.mark.parametrize("length", [0, 1, 255, 256, 257, 511, 512, 580, 590, 599, 600])
def test_truncate_equals_recomputing(model: Loaded, program: Program, length: int) -> None:
    tokens = prompt(4, LENGTH, program.vocab_size)
    _, session = recompute(program, tokens)
    reached = session.truncate(length)
    assert reached == session.length <= length
    recurrent = any(slot.kind == "conv" for slot in model[0].slots)
    if not recurrent or length >= LENGTH - 32:
        assert reached == length
    else:
        assert reached == length // 256 * 256
    follow = tokens[reached:length] + prompt(5, 40, program.vocab_size)
    got = programs.prefill(program, session, follow, 1000)
    want, _ = recompute(program, tokens[:reached] + follow)
    np.testing.assert_array_equal(got, want[reached:])


@of_states
def test_truncate_again_and_again(program: Program) -> None:
    rng = np.random.default_rng(6)
    tokens: list[int] = []
    session = program.session()
    for _ in range(12):
        new = prompt(int(rng.integers(1 << 30)), int(rng.integers(1, 200)), program.vocab_size)
        got = programs.prefill(program, session, new, 1000)
        tokens += new
        want, _ = recompute(program, tokens)
        np.testing.assert_array_equal(got[-1], want[-1])
        reached = session.truncate(int(rng.integers(0, len(tokens) + 1)))
        tokens = tokens[:reached]


@of_states
def test_a_fork_and_its_origin_do_not_disturb_each_other(program: Program) -> None:
    tokens = prompt(7, 300, program.vocab_size)
    _, session = recompute(program, tokens)
    fork = session.fork()
    left, right = prompt(8, 30, program.vocab_size), prompt(9, 30, program.vocab_size)
    for a, b in zip(left, right, strict=True):
        x = programs.logits_of(program.step([Row(session, [a])], want_logits=True))
        y = programs.logits_of(program.step([Row(fork, [b])], want_logits=True))
    np.testing.assert_array_equal(x[0], recompute(program, tokens + left)[0][-1])
    np.testing.assert_array_equal(y[0], recompute(program, tokens + right)[0][-1])
    session.close()
    follow = programs.prefill(program, fork, left, 30)
    np.testing.assert_array_equal(follow, recompute(program, tokens + right + left)[0][-30:])


@of_states
def test_a_snapshot_restores_its_moment(program: Program) -> None:
    tokens = prompt(11, 270, program.vocab_size)
    _, session = recompute(program, tokens)
    snapshot = session.snapshot()
    programs.prefill(program, session, prompt(12, 300, program.vocab_size), 64)
    session.truncate(3)
    for seed in (13, 14):  # a snapshot can be restored more than once
        session.restore(snapshot)
        assert session.length == 270
        follow = prompt(seed, 20, program.vocab_size)
        got = programs.prefill(program, session, follow, 20)
        np.testing.assert_array_equal(got, recompute(program, tokens + follow)[0][-20:])


@of_states
def test_restore_refuses_another_program(model: Loaded) -> None:
    with programs.load(*model) as one, programs.load(*model) as two:
        first, second = one.session(), two.session()
        with pytest.raises(InvalidRequest, match="same program"):
            first.restore(second)
