"""Our weights folder as the Hugging Face checkpoint that it stands for, in f16."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from cactus.weights.format.folder import WeightsFolder
from cactus.weights.format.safetensors import write_safetensors

COPIED = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)


def write(source: Path, folder: Path) -> None:
    """Write ``folder``, whose last file is model.safetensors: where it exists, all is there.

    Peers that quantise a checkpoint themselves start from the numbers that we multiply.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)
    config = json.loads((source / "config.json").read_text("utf-8"))
    del config["cactus"]
    (folder / "config.json").write_text(json.dumps(config, indent=2), "utf-8")
    with WeightsFolder.open(source) as opened:
        tensors = {}
        for name, tensor in opened.tensors.items():
            # kernels of depthwise convolutions have a dimension of one there
            rows, *rest = tensor.shape
            shape = (rows, 1, *rest) if name.endswith(".conv.weight") else tensor.shape
            tensors[name] = opened.dequantize(name).astype(np.float16).reshape(shape)
        write_safetensors(folder / "model.safetensors", tensors, {"format": "pt"})
