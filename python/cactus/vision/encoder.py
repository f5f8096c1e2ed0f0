"""From a tile to the rows that a decoder reads: the tower, and the projector behind it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cactus.engine.loaded import Loaded
from cactus.models.vision import TABLES, VisionConfig
from cactus.native import Row
from cactus.vision.merge import merge
from cactus.vision.parts import PROJECTOR, TOWER
from cactus.vision.positions import PositionTable
from cactus.weights.format.safetensors import read_safetensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cactus.calls.stop_flag import StopFlag
    from cactus.engine.programs import Part
    from cactus.vision.processors import Tile

    F32 = NDArray[np.float32]


class Encoder:
    """The programs of a model that sees, each started when it is first used.

    Whoever has the engine may ask. A tile is one row of a step, and sees all of its patches.
    """

    def __init__(self, engine: Loaded, config: VisionConfig) -> None:
        self._engine, self._config = engine, config
        self._positions = _positions(engine.folder, config)

    @property
    def dimensions(self) -> int:
        """How wide a state of the tower is."""
        return self._config.hidden_size

    def states(self, tile: Tile, stop: StopFlag | None) -> F32:
        """The last states of the tower, [patches, hidden_size]. Raises Cancelled."""
        patches, config = tile.patches, self._config
        learned = 0 if self._positions is None else config.hidden_size
        rows = np.zeros((len(patches), config.patch_width + learned), np.float32)
        rows[:, : patches.shape[1]] = patches
        if self._positions is not None:
            rows[:, config.patch_width :] = self._positions.at(*tile.grid)
        return self._run(TOWER, rows, stop)

    def features(self, tile: Tile, stop: StopFlag | None) -> F32:
        """What the decoder reads of a tile, [tokens, feature_width]. Raises Cancelled."""
        rows = merge(self._config, self.states(tile, stop), tile.grid)
        return self._run(PROJECTOR, rows, stop)

    def _run(self, part: Part, features: F32, stop: StopFlag | None) -> F32:
        program = self._engine.programs.start(part).program
        with program.session() as session:
            row = Row(session, features=features, outputs="all", stop=stop)
            pending = program.prepare([row], want_logits=True)
            pending.run()
            return pending.values


def _positions(folder: Path, config: VisionConfig) -> PositionTable | None:
    """The learned embeddings of positions; None of a family that has none."""
    if config.positions is None:
        return None
    file = read_safetensors(folder / TABLES)
    try:
        table = file.read("position_embedding").view(np.float32)
        return PositionTable(table.reshape(*config.positions, config.hidden_size))
    finally:
        file.close()
