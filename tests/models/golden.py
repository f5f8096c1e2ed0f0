"""The tiny checkpoints of tests/golden and what transformers computed with them.

Made by tools/make_golden.py. Any program, the reference or a native one, runs the same checks.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.graph.node import Graph
from cactus.graph.passes import optimize
from cactus.graph.reference import ReferenceProgram
from cactus.graph.step import Row
from cactus.models.base import Architecture, load_architecture
from cactus.weights.format.layout import GROUPS
from tests.tolerances import assert_close

FOLDER = Path(__file__).resolve().parent.parent / "golden"

NAMES = (
    "llama",
    "llama_untied",
    "lfm2",
    "qwen2",
    "qwen3",
    "qwen3_yarn",
    "smollm3",
    "gemma3_text",
    "granite",
    "phi3",
)


@dataclass(frozen=True)
class Golden:
    """One checkpoint: our architecture for it, its tensors in f32 as the model multiplies with
    them, and the expected values.

    ``nodes`` maps the name of every node of the unfused graph to its value at the positions
    ``rows`` of ``tokens``; ``logits`` has every position; ``greedy`` is the continuation.
    """

    name: str
    folder: Path
    architecture: Architecture
    tensors: dict[str, NDArray[np.float32]]
    tokens: list[int]
    rows: NDArray[np.int32]
    nodes: dict[str, NDArray[np.float32]]
    logits: NDArray[np.float32]
    greedy: list[int]

    @property
    def graph(self) -> Graph:
        """The unfused graph."""
        return self.architecture.build()

    def fused(self, dtype: str = "f32") -> Graph:
        """The graph after all passes, as if every matrix were stored in ``dtype``."""
        return fused(self.graph, dtype)


def stored_dtype(dtype: str, cols: int) -> str:
    """The type of a matrix where ``dtype`` is wanted: f16 if its columns are no whole groups."""
    if cols % GROUPS.get(dtype, 1):
        dtype = dtype.removesuffix("_64")
    return "f16" if cols % GROUPS.get(dtype, 1) else dtype


def fused(graph: Graph, dtype: str) -> Graph:
    """The graph that is run when its matrices are stored in ``dtype``."""
    shapes = graph.weights
    return optimize(
        graph, lambda name: stored_dtype(dtype, shapes[name][1]), lambda name: shapes[name][0]
    )


@cache
def load(name: str) -> Golden:
    """The checkpoint of that name."""
    folder = FOLDER / name
    architecture = load_architecture(json.loads((folder / "config.json").read_text()))
    weights = {weight.name: weight for weight in architecture.weights}
    # Convolution kernels lie as [C, 1, L] in the file.
    tensors = {
        key: value.astype(np.float32).reshape(weights[key].shape) + np.float32(weights[key].offset)
        for key, value in read_tensors(folder / "model.safetensors").items()
    }
    with np.load(folder / "golden.npz") as arrays:
        nodes = {
            key.removeprefix("node/"): arrays[key] for key in arrays if key.startswith("node/")
        }
        return Golden(
            name,
            folder,
            architecture,
            tensors,
            arrays["input_ids"].tolist(),
            arrays["rows"],
            nodes,
            arrays["logits"],
            arrays["greedy"].tolist(),
        )


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """A safetensors file as arrays, read independently of the package."""
    data = path.read_bytes()
    (header_size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + header_size])
    header.pop("__metadata__", None)
    dtypes = {"F16": np.float16, "F32": np.float32}
    tensors = {}
    for name, info in header.items():
        begin, end = (8 + header_size + offset for offset in info["data_offsets"])
        tensors[name] = np.frombuffer(data[begin:end], dtypes[info["dtype"]]).reshape(info["shape"])
    return tensors


def reference(golden: Golden, graph: Graph | None = None, **options: Any) -> ReferenceProgram:
    """A reference program for the checkpoint, by default of the unfused graph."""
    return ReferenceProgram(graph or golden.graph, golden.tensors, **options)


def check_nodes(golden: Golden, dump: dict[str, NDArray[np.float32]], kind: str = "f32") -> int:
    """Compare every dumped node whose name the golden file knows; how many there were.

    ``dump`` comes from a step that ran all of ``golden.tokens`` with outputs for all of them.
    """
    compared = 0
    for name, want in golden.nodes.items():
        if name in dump:
            assert_close(dump[name][golden.rows], want, kind, f"{golden.name}: {name}")
            compared += 1
    return compared


def run_all(program: Any, tokens: Sequence[int]) -> NDArray[np.float32]:
    """The logits of every position, in one step of a fresh session."""
    outputs = program.step([Row(program.session(), tokens, "all")], want_logits=True)
    return np.stack([output.logits for output in outputs])


def greedy(program: Any, tokens: Sequence[int], count: int) -> list[int]:
    """The greedy continuation: prefill, then one token a step."""
    session = program.session()
    chosen = [program.step([Row(session, list(tokens))])[0].token]
    while len(chosen) < count:
        chosen.append(program.step([Row(session, chosen[-1:])])[0].token)
    return chosen
