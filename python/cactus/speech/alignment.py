"""Where the decoder attends while it says a given text: which audio belongs to which token.

Some heads of the cross-attention follow the audio; the models' authors list them
(`alignment_heads`). A program of its own, made when it is first asked for, is the decoder with the
scores of these heads as further outputs: nothing of it is computed where no words are wanted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cactus.audio.decode import F32
from cactus.calls.stop_flag import StopFlag
from cactus.errors import ModelFormatError
from cactus.graph.step import Row
from cactus.inputs.checks import short
from cactus.models.whisper import Config
from cactus.native import Program, Session
from cactus.speech.parts import Head
from cactus.speech.search import softmax


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
        f"generation_config.json: alignment_heads is {short(listed)}, expected pairs of a layer "
        f"below {sizes[0]} and a head below {sizes[1]}"
    )


def _is_head(pair: object, sizes: Sequence[int]) -> bool:
    return (
        isinstance(pair, list)
        and len(pair) == len(sizes)
        and all(type(n) is int and 0 <= n < size for n, size in zip(pair, sizes, strict=True))
    )


@dataclass(frozen=True)
class Alignment:
    """``scores`` ``[heads, tokens, states]``: their softmax over states is the attention.

    ``probabilities`` has, for each token but the first, how likely it was among all pieces of text.
    """

    scores: F32
    probabilities: F32


class Aligner:
    """The program of the scores; shares memory and sessions with the decoder.

    `buffers` are where it leaves them, one for each head: a number for each of `positions`.
    """

    def __init__(self, program: Program, buffers: Sequence[int], positions: int) -> None:
        self.program = program
        self._buffers, self._positions = buffers, positions

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
            read = (self.program.read(each, len(part), self._positions) for each in self._buffers)
            scores.append([values[:, :states] for values in read])
            rows = [each.logits for each in steps if each.logits is not None]
            for row, following in zip(rows, tokens[first + 1 :], strict=False):
                chances = softmax(row[:text])
                probabilities.append(chances[following] if following < text else np.float32(0))
        return Alignment(np.concatenate(scores, axis=1), np.array(probabilities, np.float32))
