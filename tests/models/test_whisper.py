"""Whisper's encoder and decoder in NumPy against transformers, node by node."""

from __future__ import annotations

import numpy as np

from cactus.graph.node import Graph
from cactus.graph.passes import optimize
from cactus.graph.reference import ReferenceProgram
from cactus.graph.step import Row
from cactus.speech.parts import scores_name, with_scores
from cactus.speech.search import softmax
from tests.models import whisper
from tests.tolerances import assert_close


def fused(graph: Graph) -> Graph:
    return optimize(graph, lambda name: "f32", lambda name: graph.weights[name][0])


def check_nodes(values: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> set[str]:
    # Where theirs returns the positions alone, ours adds them.
    found = {name for name in set(values) & set(expected) if "embed_positions" not in name}
    for name in sorted(found):
        assert_close(values[name][::4], expected[name], "f32", name)
    return found


def test_every_module_says_what_transformers_says() -> None:
    golden = whisper.load()
    decoder = ReferenceProgram(golden.decoder, golden.tensors)
    encoder = ReferenceProgram(golden.encoder, golden.tensors, vocab_size=0, shares=decoder)
    session = decoder.session()
    heard = encoder.step([Row(session, outputs="all", features=golden.features)], want_logits=True)
    found = check_nodes(encoder.dump, golden.nodes)
    states = np.stack([output.logits for output in heard])
    assert_close(states[::4], golden.nodes["model.encoder.layer_norm"], "f32", "states")
    said = decoder.step([Row(session, golden.tokens, "all")], want_logits=True)
    found |= check_nodes(decoder.dump, golden.nodes)
    assert_close(np.stack([output.logits for output in said]), golden.logits, "f32", "logits")
    # Only what another module has made anew is not there: convolutions, and whole layers.
    missing = set(golden.nodes) - found
    assert all(
        "conv" in name
        or "embed_positions" in name
        or name.rpartition(".")[2].isdigit()
        or name.endswith(
            ("model", "encoder", "decoder", "self_attn", "encoder_attn", "activation_fn")
        )
        for name in missing
    ), sorted(missing)


def test_the_fused_graphs_say_the_same() -> None:
    golden = whisper.load()
    decoder = ReferenceProgram(fused(golden.decoder), golden.tensors)
    encoder = ReferenceProgram(fused(golden.encoder), golden.tensors, vocab_size=0, shares=decoder)
    session = decoder.session()
    encoder.step([Row(session, outputs="none", features=golden.features)])
    said = decoder.step([Row(session, golden.tokens, "all")], want_logits=True)
    assert_close(np.stack([output.logits for output in said]), golden.logits, "f32", "logits")


def test_cross_attention() -> None:
    golden = whisper.load()
    scored = with_scores(golden.decoder, whisper.HEADS, 50)
    decoder = ReferenceProgram(scored, golden.tensors)
    encoder = ReferenceProgram(golden.encoder, golden.tensors, vocab_size=0, shares=decoder)
    session = decoder.session()
    encoder.step([Row(session, outputs="none", features=golden.features)])
    said = decoder.step([Row(session, golden.tokens, "all")], want_logits=True)
    for layer, head in whisper.HEADS:
        weights = softmax(decoder.dump[scores_name((layer, head))])
        assert_close(weights, golden.cross[layer][head], "f32", f"layer {layer} head {head}")
    assert_close(np.stack([output.logits for output in said]), golden.logits, "f32", "logits")


def test_greedy() -> None:
    golden = whisper.load()
    decoder = ReferenceProgram(golden.decoder, golden.tensors)
    encoder = ReferenceProgram(golden.encoder, golden.tensors, vocab_size=0, shares=decoder)
    session = decoder.session()
    encoder.step([Row(session, outputs="none", features=golden.features)])
    assert whisper.greedy(decoder, session, golden.tokens, 16) == golden.greedy
