"""The tiny models that see of tests/golden, converted, and what transformers computed with them.

Made by tools/make_golden_vision.py. Any program, the reference or a native one, runs the same.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.graph.step import Row
from cactus.models.base import Architecture, load_architecture
from cactus.models.vision import TABLES, VisionConfig
from cactus.vision.merge import merge
from cactus.vision.windows import by_window
from cactus.weights.convert import convert
from cactus.weights.format.folder import WeightsFolder
from cactus.weights.format.safetensors import read_safetensors
from tests.models.golden import FOLDER
from tests.weights.made import write_tokenizer

F32 = NDArray[np.float32]
NAMES = ("lfm2_vl", "smolvlm", "gemma3", "qwen2_vl", "qwen2_5_vl", "qwen3_vl")


@dataclass(frozen=True)
class Golden:
    """A converted checkpoint and its arrays, by the names of tools/make_golden_vision.py."""

    folder: Path
    architecture: Architecture
    tensors: dict[str, F32]
    tables: dict[str, F32]
    arrays: dict[str, NDArray[Any]]

    @property
    def vision(self) -> VisionConfig:
        vision = self.architecture.config.vision  # type: ignore[attr-defined]
        assert isinstance(vision, VisionConfig)
        return vision

    @property
    def grids(self) -> list[tuple[int, int]]:
        return [(int(rows), int(cols)) for rows, cols in self.arrays["grids"]]

    def tiles(self) -> list[F32]:
        """What the tower takes of each tile."""
        pixels = self.arrays["patches"]
        zeros = np.zeros((len(pixels), self.vision.patch_width - self.vision.pixels), np.float32)
        rows = [pixels, zeros]
        if self.vision.positions:
            rows.append(self.arrays["positions"])
        whole = np.concatenate(rows, axis=1, dtype=np.float32)
        ends = np.cumsum([rows * cols for rows, cols in self.grids])
        return np.split(whole, ends[:-1])

    def tokens(self) -> list[int]:
        """The prompt as rows of a step have it: image features by their numbers."""
        ids = self.arrays["input_ids"]
        seen = ids == self.vision.image_token_id
        return np.where(seen, -np.cumsum(seen), ids).tolist()  # type: ignore[no-any-return]


def write(name: str, folder: Path) -> Path:
    """A checkpoint as it is published: with a tokenizer."""
    shutil.copytree(FOLDER / name, folder)
    write_tokenizer(folder)
    return folder


def load(name: str, home: Path) -> Golden:
    """Convert a checkpoint of that name below `home`, losing nothing."""
    convert(write(name, home / name), home / f"{name}-weights", "FP32")
    with WeightsFolder.open(home / f"{name}-weights") as weights:
        architecture = load_architecture(weights.config)
        tensors = {each: weights.dequantize(each) for each in weights.tensors}
    with np.load(FOLDER / name / "golden.npz") as arrays:
        return Golden(
            home / f"{name}-weights",
            architecture,
            tensors,
            read_tables(home / f"{name}-weights"),
            dict(arrays),
        )


def read_tables(folder: Path) -> dict[str, F32]:
    return read_plain(folder / TABLES) if (folder / TABLES).exists() else {}


def read_plain(path: Path) -> dict[str, F32]:
    file = read_safetensors(path)
    try:
        return {
            name: file.read(name).view(np.float32).reshape(info.shape)
            for name, info in file.tensors.items()
        }
    finally:
        file.close()


def patch_positions(golden: Golden) -> list[NDArray[np.int32] | None]:
    """Where the patches of each tile are, for a tower that rotates by it."""
    if "patch_positions" not in golden.arrays:
        return [None] * len(golden.grids)
    ends = np.cumsum([rows * cols for rows, cols in golden.grids])
    return list(np.split(golden.arrays["patch_positions"], ends[:-1]))


def states(program: Any, golden: Golden) -> F32:
    """The tower's states of several tiles, all in one step."""
    rows, back = [], []
    for tile, positions in zip(golden.tiles(), patch_positions(golden), strict=True):
        order = np.arange(len(tile))
        if golden.vision.window and positions is not None:
            order, positions = by_window(golden.vision.window, positions)
        back.append(np.argsort(order) + sum(map(len, back)))
        rows.append(Row(program.session(), (), "all", features=tile[order], positions=positions))
    made = np.stack([output.logits for output in program.step(rows, want_logits=True)])
    return made[np.concatenate(back)]  # type: ignore[no-any-return]


def features(program: Any, golden: Golden, of: F32) -> F32:
    """The image features of the states of all tiles."""
    made, start = [], 0
    for grid in golden.grids:
        stop = start + grid[0] * grid[1]
        made.append(merge(golden.vision, of[start:stop], grid))
        start = stop
    row = Row(program.session(), (), "all", features=np.concatenate(made))
    return np.stack([output.logits for output in program.step([row], want_logits=True)])


def logits(program: Any, golden: Golden, seen: F32, chunk: int = 1 << 30) -> F32:
    """The logits of every position of the prompt, in steps of `chunk` tokens.

    Features that see each other come in one step.
    """
    session, tokens = program.session(), golden.tokens()
    places = golden.arrays.get("token_positions")
    outputs: list[Any] = []
    while (start := len(outputs)) < len(tokens):
        stop = start + chunk
        while golden.vision.blocks and stop < len(tokens) and max(tokens[stop - 1 : stop + 1]) < 0:
            stop += 1
        part = np.array(tokens[start:stop])
        taken = seen[-1 - part[part < 0]]
        part[part < 0] = -1 - np.arange(len(taken))
        row = Row(
            *(session, part.tolist(), "all"),
            features=taken if len(taken) else None,
            positions=None if places is None else places[start:stop],
        )
        outputs += program.step([row], want_logits=True)
    return np.stack([output.logits for output in outputs])
