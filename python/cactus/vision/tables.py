"""The tables of a weights folder that Python works with: position embeddings, heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cactus.errors import ModelFormatError
from cactus.models.vision import TABLES, VisionConfig
from cactus.weights.format.safetensors import read_safetensors

Tables = dict[str, NDArray[np.float32]]


def read_tables(folder: Path, config: VisionConfig) -> Tables:
    """All that a model of this config has, by name; none where it has none.

    Raises ModelFormatError naming one that is missing, or has another shape.
    """
    if not config.tables:
        return {}
    file = read_safetensors(folder / TABLES)
    try:
        found = {}
        for name, shape in config.tables.items():
            info = file.tensors.get(name)
            if info is None or (info.dtype, info.shape) != ("F32", shape):
                got = "none" if info is None else f"{info.dtype} {list(info.shape)}"
                raise ModelFormatError(
                    f"{folder / TABLES}: {name}: expected F32 {list(shape)}, as config.json says, "
                    f"got {got}; convert the model again"
                )
            found[name] = file.read(name).view(np.float32).reshape(shape)
        return found
    finally:
        file.close()
