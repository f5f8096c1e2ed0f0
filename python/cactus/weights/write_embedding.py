"""Writing what a weights folder says of embedding: embedding.json, and the heads' tensors."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cactus.errors import ModelFormatError
from cactus.models.base import Config
from cactus.weights.format.safetensors import SafetensorsWriter
from cactus.weights.sources.source import Embedding, SourceTensor

MAX_VALUES = 1 << 26


def write_embedding(embedding: Embedding, config: Config, folder: Path) -> None:
    """Write ``embedding.json`` and, where there are heads, ``heads.safetensors`` in plain f32.

    A text may not be longer than the model's own context, whatever the checkpoint says. Raises
    `ModelFormatError` for heads that are no matrices and vectors of a usual size.
    """
    given = embedding.settings
    dimensions = given["dimensions"] or config.hidden_size
    shorter = [each for each in given["matryoshka"] or () if each <= dimensions]
    settings = given | {
        "dimensions": dimensions,
        "matryoshka": shorter or None,
        "max_tokens": min(given["max_tokens"] or config.context_length, config.context_length),
    }
    text = json.dumps(settings, indent=2, ensure_ascii=False)
    (folder / "embedding.json").write_text(text + "\n", "utf-8")
    if embedding.heads:
        write_plain(embedding.heads, folder / "heads.safetensors")


def write_plain(tensors: Sequence[SourceTensor], path: Path) -> None:
    """Write what Python works with as plain f32.

    Raises `ModelFormatError` for what is not matrices and vectors of a usual size.
    """
    for each in tensors:
        if math.prod(each.shape) > MAX_VALUES or len(each.shape) > 2:
            raise ModelFormatError(f"tensor {each.name}: a shape of {list(each.shape)}")
    described = [(each.name, "F32", each.shape) for each in tensors]
    with SafetensorsWriter(path, described, {"format": "pt"}) as writer:
        for each in tensors:
            rows = math.prod(each.shape[:-1])
            values = each.values(0, rows)
            writer.begin(each.name)
            writer.write(np.ascontiguousarray(values, np.float32))
