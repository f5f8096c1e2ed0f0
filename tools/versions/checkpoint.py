"""Writes the small checkpoint that all versions convert."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from cactus.weights.format.safetensors import write_safetensors
from tests.weights.made import small_checkpoint, write_tokenizer

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "


def main(folder: Path) -> None:
    folder.mkdir()
    config, tensors = small_checkpoint()
    embedding = np.random.default_rng(7).normal(size=(272, config["hidden_size"]))
    config["vocab_size"] = len(embedding)
    tensors["model.embed_tokens.weight"] = embedding
    (folder / "config.json").write_text(json.dumps(config))
    small = {name: (values * 0.3).astype(np.float32) for name, values in tensors.items()}
    write_safetensors(folder / "model.safetensors", small)
    write_tokenizer(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))


main(Path(sys.argv[1]))
