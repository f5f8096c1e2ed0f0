"""Encoder and decoder as two programs that share sessions, on every tier."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from cactus.calls.stop_flag import StopFlag
from cactus.errors import Cancelled, InvalidRequest, NativeError, NonFiniteLogits
from cactus.graph.node import Graph
from cactus.graph.plan import build, with_int8_activations, with_int8_kv
from cactus.graph.reference import ReferenceProgram
from cactus.native import Program, Row
from cactus.speech.alignment import Aligner
from cactus.speech.parts import scores_name, with_scores
from cactus.speech.search import softmax
from tests.models import whisper
from tests.native import programs
from tests.native.programs import EXACT_TIERS, TIERS, Store
from tests.tolerances import assert_close

cases = pytest.mark.parametrize("isa", EXACT_TIERS)
DTYPES = ("f32", "f16", "q8", "q4", "q4_0", "q4_nl")


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    golden = whisper.load()
    decoder, encoder = golden.decoder, golden.encoder
    both = Graph(
        decoder.nodes + encoder.nodes, (), decoder.slots, decoder.weights | encoder.weights
    )
    folder = tmp_path_factory.mktemp("whisper")
    return {dtype: programs.store(both, golden.tensors, folder / dtype, dtype) for dtype in DTYPES}


@contextmanager
def loaded(
    store: Store, dtype: str, rounded: str | None = None, *, int8: bool = False, **options: Any
) -> Iterator[tuple[Program, Program]]:
    """(encoder, decoder). The former with activations of 8 bits on the tier `rounded`, if given;
    with `int8` their memory is kept in that."""
    golden = whisper.load()
    decoder, encoder = (programs.fused(graph, dtype) for graph in (golden.decoder, golden.encoder))
    words, sound = (
        build(decoder, store.tensors, vocab_size=320, context_length=64),
        build(encoder, store.tensors, vocab_size=0, context_length=50),
    )
    said, heard = words.blob, sound.blob
    if int8:
        said, heard = (with_int8_kv(blob, ["memory"]) for blob in (said, heard))
    heard = with_int8_activations(heard) if rounded else heard
    with (
        Program(said, store.path, **options) as decoding,
        Program(
            heard, store.path, shares=decoding, isa=rounded, chunk=50 if rounded else 512
        ) as encoding,
    ):
        yield encoding, decoding


def hear(encoder: Program, session: Any, features: np.ndarray) -> np.ndarray:
    heard = encoder.step([Row(session, outputs="all", features=features)], want_logits=True)
    return programs.logits_of(heard)


def say(decoder: Program, session: Any, tokens: list[int]) -> np.ndarray:
    return programs.logits_of(decoder.step([Row(session, tokens, "all")], want_logits=True))


@cases
def test_states_and_logits(isa: str, stores: dict[str, Store]) -> None:
    golden = whisper.load()
    with loaded(stores["f32"], "f32", isa=isa, threads=2) as (encoder, decoder):
        session = decoder.session()
        states = hear(encoder, session, golden.features)
        assert (session.memory_length, session.length) == (50, 0)
        assert_close(states[::4], golden.nodes["model.encoder.layer_norm"], "f16", "states")
        assert_close(say(decoder, session, golden.tokens), golden.logits, "f16", "logits")
        session.truncate(0)
        assert whisper.greedy(decoder, session, golden.tokens, 16) == golden.greedy


@cases
@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_every_precision_against_the_reference(
    dtype: str, isa: str, stores: dict[str, Store]
) -> None:
    golden, store = whisper.load(), stores[dtype]
    graphs = [programs.fused(graph, dtype) for graph in (golden.decoder, golden.encoder)]
    said = ReferenceProgram(graphs[0], store.values, kv_dtype="f16")
    heard = ReferenceProgram(graphs[1], store.values, kv_dtype="f16", vocab_size=0, shares=said)
    other = said.session()
    heard.step([Row(other, outputs="none", features=golden.features)])
    want = said.step([Row(other, golden.tokens, "all")], want_logits=True)
    with loaded(store, dtype, isa=isa, threads=2) as (encoder, decoder):
        session = decoder.session()
        hear(encoder, session, golden.features)
        got = say(decoder, session, golden.tokens)
    assert_close(got, programs.logits_of(want), "q12", f"{dtype} {isa}")


@pytest.mark.parametrize("isa", TIERS)
@pytest.mark.parametrize("dtype", DTYPES[1:])
def test_a_rounded_encoder_beside_an_exact_decoder(
    dtype: str, isa: str, stores: dict[str, Store]
) -> None:
    golden, bits = whisper.load(), set()
    with loaded(stores[dtype], dtype) as (encoder, decoder):
        session = decoder.session()
        exact = hear(encoder, session, golden.features)
        want = say(decoder, session, golden.tokens)
    for threads in (1, 3):
        with loaded(stores[dtype], dtype, isa, threads=threads) as (encoder, decoder):
            session = decoder.session()
            states = hear(encoder, session, golden.features)
            got = say(decoder, session, golden.tokens)
        assert session.memory_length == 50
        assert_close(states, exact, "bf16 model", f"states {dtype} {isa}")
        assert_close(got, want, "bf16 model", f"logits {dtype} {isa}")
        bits.add(states.tobytes() + got.tobytes())
    assert len(bits) == 1


@cases
def test_cross_attention(isa: str, stores: dict[str, Store]) -> None:
    golden, store = whisper.load(), stores["f32"]
    found = set()
    for threads, chunk in ((1, 32), (2, 5)):
        with loaded(store, "f32", isa=isa, threads=threads) as (encoder, decoder):
            graph = programs.fused(with_scores(golden.decoder, whisper.HEADS, 64), "f32")
            plan = build(graph, store.tensors, vocab_size=320, context_length=64)
            with Program(plan.blob, store.path, shares=decoder, chunk=chunk) as program:
                session = decoder.session()
                hear(encoder, session, golden.features)
                buffers = [plan.places[scores_name(head)][0] for head in whisper.HEADS]
                aligner = Aligner(program, buffers, 64)
                got = aligner.align(session, golden.tokens, states=50, text=320)
                part = aligner.align(session, golden.tokens, states=20, text=320)
        for (layer, head), weights in zip(whisper.HEADS, softmax(got.scores), strict=True):
            assert_close(weights, golden.cross[layer][head], "f16", f"layer {layer} head {head}")
        assert (part.scores == got.scores[..., :20]).all()
        powers = np.exp(golden.logits - golden.logits.max(axis=1, keepdims=True))
        chances = powers[range(11), golden.tokens[1:]] / powers[:11].sum(axis=1)
        assert_close(got.probabilities, chances, "f16", "probabilities")
        found.add(got.scores.tobytes() + got.probabilities.tobytes())
    assert len(found) == 1


@pytest.mark.parametrize("int8", [False, True])
def test_the_same_bits_however_it_is_split(int8: bool, stores: dict[str, Store]) -> None:
    golden, bits = whisper.load(), set()
    features = [golden.features, golden.features[::-1].copy(), golden.features[:7]]
    for threads in (1, 2):
        with loaded(stores["q8"], "q8", int8=int8, threads=threads) as (encoder, decoder):
            alone = []
            for each in features:
                session = decoder.session()
                states = hear(encoder, session, each)
                alone.append((states, say(decoder, session, golden.tokens)))
            sessions = [decoder.session() for _ in features]
            rows = [
                Row(session, outputs="all", features=each)
                for session, each in zip(sessions, features, strict=True)
            ]
            together = programs.logits_of(encoder.step(rows, want_logits=True))
            assert (together == np.concatenate([states for states, _ in alone])).all()
            for token in range(len(golden.tokens)):
                fed = [Row(session, golden.tokens[token : token + 1]) for session in sessions]
                got = programs.logits_of(decoder.step(fed, want_logits=True))
                assert (got == np.stack([logits[token] for _, logits in alone])).all()
            bits.add(b"".join(logits.tobytes() for _, logits in alone))
    assert len(bits) == 1


@cases
def test_a_memory_of_int8_gives_nearly_the_logits(isa: str, stores: dict[str, Store]) -> None:
    golden, found = whisper.load(), []
    for int8 in (False, True):
        with loaded(stores["q8"], "q8", int8=int8, isa=isa) as (encoder, decoder):
            session = decoder.session()
            hear(encoder, session, golden.features)
            found.append(say(decoder, session, golden.tokens))
    exact, rounded = found
    assert not np.array_equal(rounded, exact)
    assert_close(rounded, exact, "bf16 model", isa)


def test_forks_share_what_was_heard(stores: dict[str, Store]) -> None:
    golden = whisper.load()
    with loaded(stores["q8"], "q8") as (encoder, decoder):
        session = decoder.session()
        hear(encoder, session, golden.features)
        want = say(decoder, session, golden.tokens)
        copy = session.fork()
        assert (copy.memory_length, copy.length) == (50, len(golden.tokens))
        hear(encoder, session, golden.features[::-1].copy())  # the copy still has the first sound
        copy.truncate(0)
        assert (say(decoder, copy, golden.tokens) == want).all()
        assert (say(decoder, session, golden.tokens) != want).any()
        session.restore(copy)
        assert session.length == len(golden.tokens)
        session.truncate(0)
        assert (say(decoder, session, golden.tokens) == want).all()


def test_new_features_forget_the_tokens(stores: dict[str, Store]) -> None:
    golden = whisper.load()
    with loaded(stores["f32"], "f32") as (encoder, decoder):
        session = decoder.session()
        hear(encoder, session, golden.features)
        say(decoder, session, golden.tokens)
        hear(encoder, session, golden.features[:5])
        assert (session.length, session.memory_length) == (0, 5)


def test_what_is_refused(stores: dict[str, Store]) -> None:
    golden, store = whisper.load(), stores["f32"]
    with loaded(store, "f32") as (encoder, decoder):
        session = decoder.session()
        with pytest.raises(InvalidRequest, match="no memory yet"):
            say(decoder, session, golden.tokens)
        assert session.length == 0
        with pytest.raises(InvalidRequest, match=r"features are float32 \[50, 31\]"):
            hear(encoder, session, golden.features[:, :31])
        with pytest.raises(InvalidRequest, match=r"rows\[0\]\.features is null"):
            encoder.step([Row(session, [1, 2])])
        with pytest.raises(InvalidRequest, match="whose rows are tokens"):
            decoder.step([Row(session, features=golden.features)])
        hear(encoder, session, golden.features)
        say(decoder, session, golden.tokens)
        broken = golden.features.copy()
        broken[3, 3] = np.nan
        with pytest.raises(NonFiniteLogits, match="NaN"):
            hear(encoder, session, broken)
        assert (session.memory_length, session.length) == (0, 0)
        graph = programs.fused(whisper.load().encoder, "f32")
        other = build(
            Graph(graph.nodes, graph.outputs, graph.slots[1:] + graph.slots[:1], graph.weights),
            store.tensors,
            vocab_size=0,
            context_length=50,
        )
        with pytest.raises(NativeError, match="its slots are not those"):
            Program(other.blob, store.path, shares=decoder)


def test_a_stopped_encoder_leaves_no_memory(stores: dict[str, Store]) -> None:
    golden, flag = whisper.load(), StopFlag()
    flag.set()
    with loaded(stores["f32"], "f32", threads=2) as (encoder, decoder):
        session = decoder.session()
        want = hear(encoder, session, golden.features)
        say(decoder, session, golden.tokens)
        with pytest.raises(Cancelled):
            encoder.step([Row(session, features=golden.features)], stop=flag)
        assert (session.memory_length, session.length) == (0, 0)
        assert np.array_equal(hear(encoder, session, golden.features), want)


@cases
@pytest.mark.parametrize("threads", [1, 2])
def test_forks_in_one_step_are_as_each_alone(
    threads: int, isa: str, stores: dict[str, Store]
) -> None:
    golden = whisper.load()
    with loaded(stores["q8"], "q8", isa=isa, threads=threads) as (encoder, decoder):
        session, other = decoder.session(), decoder.session()
        hear(encoder, session, golden.features)
        hear(encoder, other, golden.features[::-1].copy())
        say(decoder, session, golden.tokens)
        # Forks of the one, with another memory between them; one has several tokens to say.
        sessions = [*(session.fork() for _ in range(5)), other, session.fork(), session.fork()]
        said = [[7], [8], [9, 10, 11], [12], [13], golden.tokens[:3], [14], [7]]
        want = [
            say(decoder, each.fork(), tokens) for each, tokens in zip(sessions, said, strict=True)
        ]
        rows = [Row(each, tokens, "all") for each, tokens in zip(sessions, said, strict=True)]
        got = programs.logits_of(decoder.step(rows, want_logits=True))
        assert np.array_equal(got, np.concatenate(want))
