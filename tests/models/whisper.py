"""The tiny Whisper of tests/golden and what transformers computed with it.

Made by tools/make_golden_whisper.py.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.graph.node import Graph
from cactus.graph.step import Row
from cactus.models.base import Architecture, load_architecture
from tests.models.golden import FOLDER, read_tensors

HEADS = ((0, 1), (1, 0), (1, 1))
"""Some of its heads: layer and head."""


@dataclass(frozen=True)
class Golden:
    """The checkpoint in f32 and in the shapes that the model wants, and the expected values."""

    architecture: Architecture
    tensors: dict[str, NDArray[np.float32]]
    features: NDArray[np.float32]
    """As the encoder takes them: [rows, two frames of mel bins]."""
    tokens: list[int]
    nodes: dict[str, NDArray[np.float32]]
    logits: NDArray[np.float32]
    cross: list[NDArray[np.float32]]
    greedy: list[int]

    @property
    def decoder(self) -> Graph:
        """The unfused graph of tokens."""
        return self.architecture.build()

    @property
    def encoder(self) -> Graph:
        """The unfused graph of features."""
        encoder = self.architecture.build_encoder()
        assert encoder is not None
        return encoder


@cache
def load() -> Golden:
    """The checkpoint."""
    folder = FOLDER / "whisper"
    architecture = load_architecture(json.loads((folder / "config.json").read_text()))
    raw = read_tensors(folder / "model.safetensors")
    tensors = {}
    for weight in architecture.weights:
        value = raw[weight.name].astype(np.float32)
        if weight.taps > 1:  # [out, in, taps] -> [out, taps * in]
            value = value.transpose(0, 2, 1).reshape(len(value), -1)
        tensors[weight.name] = np.ascontiguousarray(value)
    with np.load(folder / "golden.npz") as arrays:
        features = arrays["features"]
        return Golden(
            architecture,
            tensors,
            np.ascontiguousarray(features.T.reshape(features.shape[1] // 2, -1)),
            arrays["tokens"].tolist(),
            {key[5:]: arrays[key] for key in arrays if key.startswith("node/")},
            arrays["logits"],
            [arrays[key] for key in sorted(arrays) if key.startswith("cross/")],
            arrays["greedy"].tolist(),
        )


def greedy(decoder: Any, session: Any, tokens: list[int], count: int) -> list[int]:
    """The decoder's own continuation of ``tokens``."""
    said: list[int] = []
    fed = tokens
    while len(said) < count:
        (output,) = decoder.step([Row(session, fed)])
        said.append(output.token)
        fed = [output.token]
    return said


def with_all_slots(graph: Graph, other: Graph) -> Graph:
    """A graph whose sessions are those of the other one, too."""
    slots = {slot.name: slot for slot in (*graph.slots, *other.slots)}
    return replace(graph, slots=tuple(slots[name] for name in sorted(slots)))
