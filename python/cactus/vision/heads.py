"""From the states of an image to its vector, in models whose texts have such vectors, too.

In NumPy: it is work on one vector an image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cactus.models.vision import VisionConfig
from cactus.vision.tables import Tables

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Head:
    """What a dual encoder makes of the states ``[rows, hidden]`` of the one tile of an image."""

    config: VisionConfig
    tables: Tables

    @classmethod
    def of(cls, config: VisionConfig, tables: Tables) -> Head | None:
        """That of a model's tables; None of a model that has none."""
        if not config.head:
            return None
        names = [name for name in tables if name.startswith("head.")]
        return cls(config, {name.removeprefix("head."): tables[name] for name in names})

    def __call__(self, states: F32) -> F32:
        """The vector, ``[feature_width]``."""
        if self.config.head == "projection":
            projected: F32 = self.tables["projection"] @ states[0]
            return projected
        x = self._attended(states)
        return x + self._feed_forward(self._normed(x))

    def _attended(self, states: F32) -> F32:
        """What the probe finds in all states."""
        t, heads = self.tables, self.config.heads
        parts = np.split(t["attention.in_proj_weight"], 3)
        biases = np.split(t["attention.in_proj_bias"], 3)
        width = self.config.hidden_size
        query = (parts[0] @ t["probe"][0] + biases[0]).reshape(heads, -1)
        keys, values = (
            (states @ parts[n].T + biases[n]).reshape(len(states), heads, -1) for n in (1, 2)
        )
        scores = np.einsum("hd,nhd->hn", query, keys) / np.float32((width // heads) ** 0.5)
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        mixed = np.einsum("hn,nhd->hd", shares, values).reshape(width)
        found: F32 = t["attention.out_proj.weight"] @ mixed + t["attention.out_proj.bias"]
        return found

    def _normed(self, x: F32) -> F32:
        centred = x - x.mean()
        scaled = centred / np.sqrt((centred * centred).mean() + np.float32(self.config.norm_eps))
        normed: F32 = scaled * self.tables["layernorm.weight"] + self.tables["layernorm.bias"]
        return normed

    def _feed_forward(self, x: F32) -> F32:
        t = self.tables
        inner = t["mlp.fc1.weight"] @ x + t["mlp.fc1.bias"]
        # The GELU as it is approximated with tanh, which every SigLIP has.
        bent = np.tanh(np.float32(0.7978845608) * (inner + np.float32(0.044715) * inner**3))
        inner = (inner * (bent + 1)).astype(np.float32)
        out: F32 = t["mlp.fc2.weight"] @ (inner / 2) + t["mlp.fc2.bias"]
        return out
