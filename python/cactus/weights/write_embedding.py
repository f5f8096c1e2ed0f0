"""Writing what a weights folder says of embedding: embedding.json, and the heads' tensors."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from cactus.errors import ModelFormatError
from cactus.models.base import Config
from cactus.weights.format.safetensors import SafetensorsWriter
from cactus.weights.sources.gguf.blocks import dequantize
from cactus.weights.sources.source import Embedding

MAX_HEAD_VALUES = 1 << 26


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
    if not embedding.heads:
        return
    for head in embedding.heads:
        if math.prod(head.shape) > MAX_HEAD_VALUES or len(head.shape) > 2:
            raise ModelFormatError(f"tensor {head.name}: a head of shape {list(head.shape)}")
    described = [(head.name, "F32", head.shape) for head in embedding.heads]
    with SafetensorsWriter(folder / "heads.safetensors", described, {"format": "pt"}) as writer:
        for head in embedding.heads:
            rows = math.prod(head.shape[:-1])
            values = dequantize(head.kind, head.rows(0, rows))
            writer.begin(head.name)
            writer.write(np.ascontiguousarray(values, np.float32))
