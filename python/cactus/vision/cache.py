"""Features of images that were looked at, within a budget of memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TileKey = tuple[bytes, int]
"""Which image, by its pixels and how they are processed; and which tile of it."""


class FeatureCache:
    """The features of tiles, at most `budget` bytes; those that were not used for longest give way.

    An image that differs in one pixel, or is processed differently, has another key. Nothing is
    ever written to a disk. All methods are for whoever has the engine.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._kept: OrderedDict[TileKey, NDArray[np.float32]] = (
            OrderedDict()
        )  # used last: at the end

    @property
    def bytes(self) -> int:
        """Memory that the features take now."""
        return sum(features.nbytes for features in self._kept.values())

    def __contains__(self, key: TileKey) -> bool:
        return key in self._kept

    def get(self, key: TileKey) -> NDArray[np.float32] | None:
        """The features of a tile; it counts as used."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: TileKey, features: NDArray[np.float32]) -> None:
        """Keep the features of a tile, unless they alone are more than the budget."""
        if features.nbytes > self._budget:
            return
        self._kept[key] = features
        self._kept.move_to_end(key)
        while self.bytes > self._budget:
            self._kept.popitem(last=False)

    def forget(self) -> None:
        """Forget all."""
        self._kept.clear()
