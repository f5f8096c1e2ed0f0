"""Where the decoder attends while it says a given text: which audio belongs to which token.

Some heads of the cross-attention follow the audio; the models' authors list them
(`alignment_heads`). A program of its own, made when it is first asked for, is the decoder with the
scores of these heads as further outputs: nothing of it is computed where no words are wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cactus.audio.decode import F32
from cactus.calls.stop_flag import StopFlag
from cactus.errors import ModelFormatError
from cactus.graph.node import Graph, Node
from cactus.graph.ops import verify
from cactus.graph.plan import Plan
from cactus.graph.step import Row
from cactus.models.whisper import Config
from cactus.native import Program, Session
from cactus.speech.search import softmax

Head = tuple[int, int]
"""Layer and head, from 0 on."""

CHUNK = 32
"""Tokens of one step, at most: its scores are held for every head, 1500 a token."""


def alignment_heads(generation: Mapping[str, Any], config: Config) -> tuple[Head, ...]:
    """The heads that follow the audio, by generation_config.json; else the upper half of them all.

    Raises ModelFormatError for a list that names no head of this model.
    """
    listed = generation.get("alignment_heads")
    if listed is None:
        layers = range(config.decoder_layers // 2, config.decoder_layers)
        return tuple((layer, head) for layer in layers for head in range(config.decoder_heads))
    sizes = (config.decoder_layers, config.decoder_heads)
    if isinstance(listed, list) and listed and all(_is_head(pair, sizes) for pair in listed):
        return tuple((layer, head) for layer, head in listed)
    raise ModelFormatError(
        f"generation_config.json: alignment_heads is {str(listed)[:60]}, expected pairs of a layer "
        f"below {sizes[0]} and a head below {sizes[1]}"
    )


def _is_head(pair: object, sizes: Sequence[int]) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == len(sizes)
        and all(type(n) is int and 0 <= n < size for n, size in zip(pair, sizes, strict=True))
    )


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


@dataclass(frozen=True)
class Alignment:
    """``scores`` ``[heads, tokens, states]``: their softmax over states is the attention.

    ``probabilities`` has, for each token but the first, how likely it was among all pieces of text.
    """

    scores: F32
    probabilities: F32


class Aligner:
    """The program with its places to read; shares memory and sessions with the decoder."""

    def __init__(self, program: Program, plan: Plan, heads: Sequence[Head]) -> None:
        self.program = program
        self._places = [plan.places[scores_name(head)] for head in heads]

    def align(
        self,
        session: Session,
        tokens: Sequence[int],
        *,
        states: int,
        text: int,
        stop: StopFlag | None = None,
    ) -> Alignment:
        """Say ``tokens`` to the memory of ``session``, whose own tokens are forgotten.

        Only the first ``states`` of the memory count. Ids below ``text`` are pieces of text.
        Raises Cancelled once ``stop`` is set.
        """
        session.truncate(0)
        scores, probabilities = [], []
        for first in range(0, len(tokens), self.program.chunk):
            part = tokens[first : first + self.program.chunk]
            steps = self.program.step([Row(session, part, "all")], want_logits=True, stop=stop)
            scores.append([self._read(place, len(part))[:, :states] for place in self._places])
            rows = [each.logits for each in steps if each.logits is not None]
            for row, following in zip(rows, tokens[first + 1 :], strict=False):
                chances = softmax(row[:text])
                probabilities.append(chances[following] if following < text else np.float32(0))
        return Alignment(np.concatenate(scores, axis=1), np.array(probabilities, np.float32))

    def _read(self, place: tuple[int, int, int], rows: int) -> F32:
        buffer, _, width = place
        values: F32 = self.program.read(buffer, rows, width)
        return values

    def close(self) -> None:
        """Free the program."""
        self.program.close()
