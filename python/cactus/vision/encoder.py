"""From a tile to the rows that a decoder reads: the tower, and the projector behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cactus.engine.loaded import Loaded
from cactus.models.vision import VisionConfig
from cactus.native import Row
from cactus.vision.heads import Head
from cactus.vision.merge import merge
from cactus.vision.parts import PROJECTOR, TOWER, deepstack
from cactus.vision.positions import PositionTable
from cactus.vision.tables import Tables, read_tables
from cactus.vision.windows import by_window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cactus.calls.stop_flag import StopFlag
    from cactus.engine.programs import Part
    from cactus.native import Program
    from cactus.vision.processors import Tile

    F32 = NDArray[np.float32]


class Encoder:
    """The programs of a model that sees, each started when it is first used.

    Whoever has the engine may ask. A tile is one row of a step, and sees all of its patches.
    """

    def __init__(self, engine: Loaded, config: VisionConfig) -> None:
        self._engine, self._config = engine, config
        tables = read_tables(engine.folder, config)
        self._positions = _positions(config, tables)
        self._class = _class_row(config, tables)
        self._head = Head.of(config, tables)

    @property
    def dimensions(self) -> int:
        """How many numbers the vector of an image has."""
        return self._config.feature_width if self._head else self._config.hidden_size

    def total(self, states: F32) -> NDArray[np.float64]:
        """What a tile adds to the vector of its image, which is divided by all patches.

        That are its states, or, with a head, what that makes of the one tile of an image.
        """
        if self._head is not None:
            return self._head(states).astype(np.float64) * len(states)
        found: NDArray[np.float64] = states.sum(axis=0, dtype=np.float64)
        return found

    def states(self, tile: Tile, stop: StopFlag | None) -> F32:
        """The last states of the tower, [patches, hidden_size]. Raises Cancelled."""
        return self._look(tile, stop)[0]

    def features(self, tile: Tile, stop: StopFlag | None) -> F32:
        """What the decoder reads of a tile, [tokens, width]. Raises Cancelled.

        Behind the features of the last states are those of the deepstack's.
        """
        parts = [PROJECTOR, *(deepstack(index) for index in range(len(self._config.deepstack)))]
        made = [
            self._project(part, merge(self._config, states, tile.grid), stop)
            for part, states in zip(parts, self._look(tile, stop), strict=True)
        ]
        return np.concatenate(made, axis=1) if len(made) > 1 else made[0]

    def _look(self, tile: Tile, stop: StopFlag | None) -> list[F32]:
        """The tower's last states, and those of the layers of the deepstack."""
        patches, config = tile.patches, self._config
        learned = 0 if self._positions is None else config.hidden_size
        rows = np.zeros((len(patches), config.patch_width + learned), np.float32)
        rows[:, : patches.shape[1]] = patches
        if self._positions is not None:
            rows[:, config.patch_width :] = self._in_order(self._positions.at(*tile.grid), tile)
        if self._class is not None:
            rows = np.concatenate([self._class, rows])
        running = self._engine.programs.start(TOWER)
        places = order = None
        if axes := running.program.info.axes:
            places = np.indices(tile.grid, np.int32).reshape(2, -1).T
            places = np.ascontiguousarray(self._in_order(places, tile))
        if config.window and places is not None:
            order, places = by_window(config.window, places)
            rows, places = rows[order], np.ascontiguousarray(places[:, :axes])
        last = _run(running.program, rows, places, stop)
        deep = [
            running.program.read(buffer, len(rows), config.hidden_size) for buffer in running.reads
        ]
        if order is not None:
            back = np.argsort(order)
            return [states[back] for states in (last, *deep)]
        return [last, *deep]

    def _in_order(self, of_patches: Any, tile: Tile) -> Any:
        """What belongs to patches from left to right and downwards, in the order of the rows."""
        if self._config.merging != "in order":
            return of_patches
        (rows, cols), factor = tile.grid, self._config.factor
        squares = of_patches.reshape(rows // factor, factor, cols // factor, factor, -1)
        return squares.swapaxes(1, 2).reshape(rows * cols, -1)

    def _project(self, part: Part, rows: F32, stop: StopFlag | None) -> F32:
        program = self._engine.programs.start(part).program
        most = min(program.chunk, program.context_length)
        made = [
            _run(program, rows[first : first + most], None, stop)
            for first in range(0, len(rows), most)
        ]
        return np.concatenate(made) if len(made) > 1 else made[0]


def _run(
    program: Program, features: F32, positions: NDArray[np.int32] | None, stop: StopFlag | None
) -> F32:
    """The states of one row of a step, [features, width]."""
    with program.session() as session:
        row = Row(session, features=features, positions=positions, outputs="all", stop=stop)
        pending = program.prepare([row], want_logits=True)
        pending.run()
        return pending.values


def _class_row(config: VisionConfig, tables: Tables) -> F32 | None:
    """The row for the whole image, which is before the patches: no pixels, and its embedding."""
    if not config.class_token:
        return None
    row = np.zeros((1, config.patch_width + config.hidden_size), np.float32)
    row[:, config.patch_width :] = tables["class_embedding"]
    return row


def _positions(config: VisionConfig, tables: Tables) -> PositionTable | None:
    """The learned embeddings of positions; None of a family that has none."""
    if config.positions is None:
        return None
    table = tables["position_embedding"].reshape(*config.positions, config.hidden_size)
    return PositionTable(table, config.interpolation)
