"""A model as an encoder of texts: its settings, program, reader and heads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np

from cactus.calls.stop_flag import StopFlag
from cactus.compat import Self
from cactus.confidence.store import identity
from cactus.embed.heads import Layer, read_heads
from cactus.embed.parts import STATES
from cactus.embed.pooling import F32, unit
from cactus.embed.settings import FILE, Settings, read_settings
from cactus.embed.steps import Steps
from cactus.embed.texts import Item, Reader
from cactus.embed.vectors import Embeddings
from cactus.engine.loaded import Loaded
from cactus.errors import InvalidRequest, ModelFormatError, NonFiniteLogits
from cactus.inputs.checks import expected, integer
from cactus.inputs.files import find_json

GROWTH = 1024
"""Vectors that there is room for at first where nobody knows how many will come, and that are made
unit vectors at once."""


@dataclass(frozen=True)
class Encoder:
    """Makes vectors of texts. `dimensions` are those of a vector that is not cut."""

    loaded: Loaded
    settings: Settings
    reader: Reader
    steps: Steps
    heads: tuple[Layer, ...]
    dimensions: int

    @classmethod
    def of(cls, loaded: Loaded) -> Self:
        """The parts of a loaded model.

        Raises ModelFormatError and UnsupportedModel for what its files say of vectors.
        """
        settings = read_settings(loaded.folder)
        score = settings.score
        if loaded.tokens.vocab_size == 0 or (score is not None and score.kind == "yes_no"):
            program = loaded.tokens
        else:
            program = loaded.programs.start(STATES).program
        width = program.info.output_width
        heads, dimensions = read_heads(loaded.folder, settings.dense, width)
        if score is not None and score.kind == "yes_no":
            if max(score.yes, score.no) >= width:
                raise ModelFormatError(
                    f"{loaded.folder / FILE}: score: yes and no must be below {width}, "
                    f"got {score.yes} and {score.no}"
                )
        elif settings.dimensions not in (None, dimensions):
            raise ModelFormatError(
                f"{loaded.folder / FILE}: dimensions is {settings.dimensions}, and the model gives "
                f"{dimensions}"
            )
        limit = min(settings.max_tokens or program.context_length, program.context_length)
        words = loaded.config.get("text_config") or loaded.config
        vocabulary = loaded.tokens.vocab_size or int(words["vocab_size"])
        reader = Reader(loaded.tokenizer, settings, limit, vocabulary)
        steps = Steps(program, settings.pooling)
        return cls(loaded, settings, reader, steps, tuple(heads), dimensions)

    @property
    def fingerprint(self) -> str:
        """A digest of what decides the vectors: weights, precision, pooling, prompts."""
        made_with = [identity(self.loaded.folder), find_json(self.loaded.folder / FILE)]
        return hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()

    def head(self, item: Item, vector: F32) -> F32:
        """The pooled vector of a text behind the dense layers. Raises NonFiniteLogits."""
        for layer in self.heads:
            vector = layer(vector)
        if self.heads and not np.isfinite(vector).all():  # of states the core has seen to it
            raise NonFiniteLogits(
                f"texts[{item.index}]: the model gives NaN or infinity: its weights are damaged, "
                "or it overflows"
            )
        return vector

    def size(self, dimensions: object) -> int:
        """How many numbers of a vector are kept; InvalidRequest where that many cannot be."""
        if dimensions is None:
            return self.dimensions
        sizes = self.settings.matryoshka
        if not sizes:
            if dimensions != self.dimensions:
                raise InvalidRequest(
                    expected("dimensions", str(self.dimensions), dimensions)
                    + f": {self.loaded.name} was not trained for vectors that are cut"
                )
            return self.dimensions
        return integer("dimensions", dimensions, min(sizes), self.dimensions)

    def embed(
        self,
        items: Iterator[Item],
        count: int | None,
        size: int,
        normalize: bool,
        most: int | None,
        stop: StopFlag,
    ) -> Generator[int, None, Embeddings]:
        """The vectors of `count` texts (None: nobody knows how many), of `size` numbers each.

        Yields how many are done, after each step but that which was known to be the last. Raises
        Cancelled, NonFiniteLogits.
        """
        values = np.empty((GROWTH if count is None else count, size), np.float32)
        tokens: list[int] = []
        truncated: list[int] = []
        complete = 0
        for done in self.steps.run(items, most, stop):
            for item, pooled in done:
                tokens += [0] * (item.index + 1 - len(tokens))
                if len(tokens) > len(values):
                    values.resize((2 * len(values), size), refcheck=False)
                values[item.index] = self.head(item, pooled)[:size]
                tokens[item.index] = len(item.ids)
                if item.cut:
                    truncated.append(item.index)
            complete += len(done)
            if complete != count:
                yield complete
        values.resize((len(tokens), size), refcheck=False)
        for start in range(0, len(values) if normalize else 0, GROWTH):
            part = values[start : start + GROWTH]
            part[:] = unit(part)
        return Embeddings(values, tokens, sorted(truncated))
