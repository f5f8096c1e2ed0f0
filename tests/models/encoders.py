"""The tiny text encoders of tests/golden and what transformers computed with them.

Made by tools/make_golden_encoders.py. They are read as the converter reads a checkpoint.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.graph.node import Graph
from cactus.graph.step import Row
from cactus.models.base import Architecture, load_architecture
from cactus.tokenizer.document import around, document
from cactus.weights.sources.checkpoint import open_checkpoint
from cactus.weights.sources.gguf.blocks import dequantize
from tests.models.golden import FOLDER

PAIRS = ("bert_ranker", "xlm_roberta_ranker", "modernbert_ranker")
NAMES = (
    *("bert", "xlm_roberta", "nomic_bert", "nomic_bert_moe", "modernbert", "qwen3_embedding"),
    "embeddinggemma",
    *PAIRS,
)

CLS, SEP = ("[CLS]", 2), ("[SEP]", 3)


@dataclass(frozen=True)
class Golden:
    """A checkpoint with a tokenizer: our architecture for it, its tensors in f32, the values.

    ``states`` of all ``tokens``; ``score`` of a pair; ``embedding`` behind dense layers.
    """

    architecture: Architecture
    tensors: dict[str, NDArray[np.float32]]
    tokens: list[int]
    states: NDArray[np.float32]
    score: float | None
    embedding: NDArray[np.float32] | None

    @property
    def graph(self) -> Graph:
        """The unfused graph of the states."""
        return self.architecture.build_states()


@cache
def load(name: str, folder: Path) -> Golden:
    """The checkpoint of that name, as `write` has put it into ``folder``."""
    source = open_checkpoint(folder)
    try:
        architecture = load_architecture(source.config)
        architecture.check({tensor.name: tensor.shape for tensor in source.tensors})
        offsets = {weight.name: weight.offset for weight in architecture.weights}
        tensors = {}
        for tensor in source.tensors:
            values = dequantize(tensor.kind, tensor.rows(0, math.prod(tensor.shape[:-1])))
            offset = np.float32(offsets[tensor.name])
            tensors[tensor.name] = values.reshape(tensor.shape) + offset
    finally:
        source.close()
    with np.load(FOLDER / name / "golden.npz") as arrays:
        return Golden(
            architecture,
            tensors,
            arrays["input_ids"].tolist(),
            arrays["states"],
            float(arrays["score"][0]) if "score" in arrays else None,
            arrays.get("embedding"),
        )


def write(name: str, folder: Path) -> Path:
    """A copy of the checkpoint with a tokenizer whose word for the id 7 is "w7"."""
    shutil.copytree(FOLDER / name, folder)
    (folder / "golden.npz").unlink()
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    special = ["[PAD]", "[UNK]", CLS[0], SEP[0], "[MASK]"]
    words = {text: id for id, text in enumerate(special)}
    words |= {f"w{id}": id for id in range(len(special), rows)}
    added: list[dict[str, Any]] = [
        {"id": id, "content": text, "special": True, "single_word": False}
        | dict.fromkeys(("lstrip", "rstrip", "normalized"), False)
        for id, text in enumerate(special)
    ]
    made = document(added, None, {"type": "WhitespaceSplit"}, {"type": "Fuse"}, {})
    made["model"] = {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}
    made["post_processor"] = around([CLS], [SEP], twice=name.startswith("xlm"))
    # As MiniLM's has it; both would change what is read.
    made["truncation"] = {"max_length": 9, "strategy": "LongestFirst", "stride": 0}
    made["padding"] = {
        **{"strategy": {"Fixed": 50}, "direction": "Right", "pad_to_multiple_of": None},
        **{"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
    }
    made["truncation"]["direction"] = "Right"
    (folder / "tokenizer.json").write_text(json.dumps(made))
    names = {"cls_token": CLS[0], "sep_token": SEP[0], "unk_token": "[UNK]", "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    return folder


def words(tokens: list[int]) -> str:
    """The text of ids, without the special ones at its ends."""
    return " ".join(f"w{token}" for token in tokens if token > SEP[1])


def parts(golden: Golden) -> tuple[str, str]:
    """The two texts of a pair."""
    end = golden.tokens.index(SEP[1])
    return words(golden.tokens[:end]), words(golden.tokens[end:])


def run(program: Any, tokens: list[int]) -> NDArray[np.float32]:
    """The states of every position."""
    outputs = program.step([Row(program.session(), tokens, "all")], want_logits=True)
    return np.stack([output.logits for output in outputs])
