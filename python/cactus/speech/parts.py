"""The programs of a speech model besides that of its tokens: the encoder, and the scores of heads.

Their graphs are made here, so that this file's code is in the key of kept plans.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cactus.engine.programs import Part, Traced
from cactus.errors import UnsupportedModel
from cactus.graph.node import Graph, Node
from cactus.graph.ops import verify
from cactus.models.base import Architecture
from cactus.models.whisper import Config

Head = tuple[int, int]
"""Layer and head, from 0 on."""

CHUNK = 32
"""Tokens of one step with scores, at most: they are held for every head, 1500 a token."""


def _encoder(model: Architecture) -> Traced:
    graph = model.build_encoder()
    if graph is None:
        raise UnsupportedModel(f"a model of {model.config.model_type} has no encoder")
    return Traced(graph, 0, _config(model).source_positions)


ENCODER = Part("encoder", "plan-encoder.bin", _encoder, chunk=None, rounds_floats=False)
"""Takes features; what it says becomes the memory that the decoder's tokens attend to.

Its products have activations of 8 bits, or are of bf16, where its weights are quantised: that moves
no words, but now and then a time by 0.02 s. With weights of 16 or 32 bits tokens are those of f32.
"""


def scores_of(heads: Sequence[Head]) -> Part:
    """The decoder with the scores of some heads, which are its further outputs."""

    def trace(model: Architecture) -> Traced:
        config = _config(model)
        graph = with_scores(model.build(), heads, config.source_positions)
        return Traced(graph, config.vocab_size, config.context_length)

    return Part("scores", "plan-scores.bin", trace, CHUNK, repr(tuple(heads)).encode())


def scores_name(head: Head) -> str:
    """The name of the node that ``with_scores`` adds for a head."""
    return f"model.decoder.layers.{head[0]}.encoder_attn.scores.{head[1]}"


def with_scores(decoder: Graph, heads: Iterable[Head], positions: int) -> Graph:
    """The decoder with one more output for each head: how well its tokens fit each state."""
    nodes = []
    for layer, head in heads:
        attention = decoder.node(f"model.decoder.layers.{layer}.encoder_attn.memory_attention")
        attrs = {key: attention.attrs[key] for key in ("kv_heads", "head_dim", "scale")}
        attrs |= {"head": head, "positions": positions}
        name, state = scores_name((layer, head)), attention.state
        nodes.append(Node("memory_scores", attention.inputs[:1], positions, attrs, (), state, name))
    return verify(Graph.of([*decoder.outputs, *nodes], decoder.slots, decoder.weights))


def _config(model: Architecture) -> Config:
    if not isinstance(model.config, Config):
        raise UnsupportedModel(f"{model.config.model_type} is not a speech model")
    return model.config
