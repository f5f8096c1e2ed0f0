"""The images that a model was shown: what they are known by, and how their features are made."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from cactus.vision.cache import FeatureCache

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cactus.calls.stop_flag import StopFlag
    from cactus.vision.contract import Layout, Picture, Processor
    from cactus.vision.gaze import PromptImage

MOST_IMAGES = 1 << 14
"""Images whose numbers are remembered; one that is given again after so many others is read anew.
"""


HELD = 64_000_000
"""Pixels that may wait to be looked at, decoded: the largest image alone has no more."""


class Sight:
    """The images that a model was shown: their numbers, their features, and how those are made.

    `token` is the id that stands for a feature in a prompt of tokens. `encode(tile, stop)` makes
    the features of a tile, [tokens, feature_width]. `budget`: bytes of features that are kept.
    `axes`: whether rotary positions have several, which squares of `factor` patches make. `whole`:
    whether the features of a tile see each other. `patches`: the most of a tile.
    """

    def __init__(
        self,
        processor: Processor,
        token: int,
        encode: Callable[[Any, StopFlag | None], NDArray[np.float32]],
        budget: int,
        *,
        axes: bool = False,
        factor: int = 1,
        whole: bool = False,
        patches: int | None = None,
    ) -> None:
        self.processor, self.token, self._encode = processor, token, encode
        self.axes, self.factor, self.whole, self._patches = axes, factor, whole, patches
        self.cache = FeatureCache(budget)
        self._lock = threading.RLock()
        self._numbers: OrderedDict[bytes, int] = OrderedDict()
        self._next = 0
        self._held: WeakSet[Picture] = WeakSet()
        self._tiles: tuple[bytes, int, Iterator[Any]] | None = None

    def layout(self, width: int, height: int, limits: Any) -> Layout:
        """How an image is looked at: smaller, where a tile would have more patches than one can.

        Raises InvalidImage.
        """
        found: Layout = self.processor.layout(width, height, limits)
        if self._patches and max(rows * cols for rows, cols in found.grids) > self._patches:
            limits = replace(limits, max_image_tokens=self._patches // self.factor**2)
            found = self.processor.layout(width, height, limits)
        return found

    def key(self, picture: Picture, layout: Layout) -> bytes:
        """What the features of an image are known by: its pixels, and how they are processed."""
        digest = hashlib.sha256(picture.digest + self.processor.fingerprint)
        digest.update(repr(layout).encode())
        return digest.digest()

    def may_hold(self, picture: Picture) -> bool:
        """Whether a request may keep these pixels: all requests together, `HELD` pixels of them.

        Others decode their images again when they are looked at: a list of a thousand photographs
        is not in memory at once.
        """
        with self._lock:
            self._held.add(picture)
            total = sum(each.width * each.height for each in self._held)
            if total > HELD:
                self._held.discard(picture)
            return total <= HELD

    def number(self, key: bytes, features: int) -> int:
        """The number of an image's first feature, of which it has so many."""
        with self._lock:
            number = self._numbers.get(key)
            if number is None:
                number, self._next = self._next, self._next + features
                self._numbers[key] = number
            self._numbers.move_to_end(key)
            while len(self._numbers) > MOST_IMAGES:
                self._numbers.popitem(last=False)
            return number

    def encode(self, image: PromptImage, tile: int, stop: StopFlag | None) -> NDArray[np.float32]:
        """The features of a tile of an image. Whoever has the engine may ask. Raises Cancelled.

        The tiles of an image are cut one after another: no more than one is in memory.
        """
        key, ahead, tiles = self._tiles or (b"", 0, iter(()))
        self._tiles = None  # where what follows is interrupted, they begin anew
        if key != image.key or ahead > tile:
            ahead, tiles = 0, image.source.tiles(self)
        features = self._encode(next(islice(tiles, tile - ahead, None)), stop)
        if tile + 1 < len(image.tile_tokens):
            self._tiles = image.key, tile + 1, tiles
        return features

    def forget(self) -> None:
        """Forget all features."""
        self.cache.forget()
        self._tiles = None
