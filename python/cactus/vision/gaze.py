"""What one request sees: the features of its images, made tile by tile as its rows need them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

from cactus.vision.cache import FeatureCache, TileKey

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cactus.calls.stop_flag import StopFlag
    from cactus.progress import Progress

LABEL = "looking at images"
"""What progress is told is being done."""


@dataclass(frozen=True, slots=True)
class PromptImage:
    """An image of a prompt. `key`: what its features are known by.

    `number`: that of its first feature, of all features of all images that this model was shown;
    `tile_tokens`: how many features each tile has, in the order of the prompt, and `grids` how many
    patches, in rows and columns. `source` is what its pixels come from.
    """

    key: bytes
    number: int
    tile_tokens: tuple[int, ...]
    grids: tuple[tuple[int, int], ...]
    source: Any

    @property
    def ids(self) -> range:
        """What stands for its features in a prompt: -1 - the number of each, and so no token."""
        return range(-1 - self.number, -1 - self.number - sum(self.tile_tokens), -1)


@dataclass(frozen=True, slots=True)
class Span:
    """Where in a prompt the features of a tile stand: positions `start` to `end`."""

    start: int
    end: int
    image: PromptImage
    tile: int

    @property
    def key(self) -> TileKey:
        return self.image.key, self.tile


def place(
    prompt: Sequence[int], token: int, images: Sequence[PromptImage]
) -> tuple[list[int], tuple[Span, ...]]:
    """The prompt with the ids of the images' features in place of each `token`, and their places.

    There are as many of these as the images have features, and those of a tile stand together.
    """
    ids, spans = list(prompt), []
    places = [at for at, id in enumerate(prompt) if id == token]
    done = 0
    for image in images:
        sizes = image.tile_tokens
        for tile, (size, end) in enumerate(zip(sizes, accumulate(sizes), strict=True)):
            start = places[done]
            assert places[done + size - 1] == start + size - 1, "a tile is torn apart"
            ids[start : start + size] = image.ids[end - size : end]
            spans.append(Span(start, start + size, image, tile))
            done += size
    assert done == len(places), "not as many image tokens as features"
    return ids, tuple(spans)


def positions_of(length: int, spans: Sequence[Span], factor: int) -> NDArray[np.int32]:
    """Rotary positions (time, row, column) of a prompt with images: int32 [length, 3].

    Of text all three count on. The features of a tile, squares of `factor` patches, have one time,
    and rows and columns from there on; text goes on behind the largest. Source: Qwen2-VL.
    """
    import numpy as np

    found = np.empty((length, 3), np.int32)
    at = next_one = 0
    for span in (*spans, None):
        start = length if span is None else span.start
        found[at:start] = (next_one + np.arange(start - at))[:, None]
        next_one += start - at
        if span is None:
            break
        rows, cols = (side // factor for side in span.image.grids[span.tile])
        found[start : span.end, 0] = next_one
        found[start : span.end, 1] = next_one + np.repeat(np.arange(rows), cols)
        found[start : span.end, 2] = next_one + np.tile(np.arange(cols), rows)
        at, next_one = span.end, next_one + max(rows, cols)
    return found


class Eyes(Protocol):
    """Makes the features of a tile, [tokens, feature_width], and keeps them. Raises Cancelled."""

    @property
    def cache(self) -> FeatureCache: ...
    def encode(
        self, image: PromptImage, tile: int, stop: StopFlag | None, /
    ) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class Sights:
    """The images of a request: where they stand in its prompt, and who looks at them.

    `open` looks anew, for one lane; several may be made of one request. `progress` is told.
    `positions`: int32 [prompt, axes], where rotary positions have several axes. `whole`: the
    features of a tile see each other, so that one step reads all of them.
    """

    spans: tuple[Span, ...]
    eyes: Eyes
    progress: Progress | None = None
    positions: NDArray[np.int32] | None = None
    whole: bool = False

    def open(self) -> Gaze:
        return Gaze(self)


class Gaze:
    """The features that one lane has in hand: those of tiles that it has not read yet.

    What it has made it can be asked for again, since a step may be interrupted. A lane that has
    lost its session reads its images once more: from the cache, or they are looked at again.
    """

    def __init__(self, sights: Sights) -> None:
        self._sights = sights
        self._held: dict[TileKey, NDArray[np.float32]] = {}
        self._seconds: dict[TileKey, float] = {}  # of each tile that was encoded
        self._first: int | None = None  # tokens that were in the cache when it began to look

    @property
    def tokens(self) -> int:
        """Positions of the prompt that stand for features."""
        return sum(span.end - span.start for span in self._sights.spans)

    @property
    def tiles(self) -> int:
        """Tiles of all images of the prompt."""
        return len(self._sights.spans)

    @property
    def encoded(self) -> int:
        """Tiles that were encoded for this lane: they were in no cache."""
        return len(self._seconds)

    @property
    def seconds(self) -> float:
        """How long that took."""
        return sum(self._seconds.values())

    def end(self, cached: int) -> int | None:
        """Up to which position can be read, where `cached` are; None: to the end of the prompt."""
        self._let_go(cached)
        for span in self._unread(cached):
            if not self._has(span) or (self._sights.whole and span.start > cached):
                return max(span.start, cached)
            if self._sights.whole:
                return span.end
        return None

    def blind(self, cached: int, little: int) -> bool:
        """Whether fewer than `little` positions can be read before it has to look."""
        for span in self._unread(cached):
            if not self._has(span):
                return span.start - cached < little
            if self._sights.whole:
                break
        return False

    def whole(self, cached: int) -> int:
        """How many rows the next step must read at once, and no others; 0: as many as it likes."""
        first = next(iter(self._unread(cached)), None) if self._sights.whole else None
        return first.end - cached if first is not None and first.start <= cached else 0

    def look(self, cached: int, stop: StopFlag | None) -> None:
        """Encode the next tile that is wanted and not there. Raises Cancelled, and what goes wrong.

        May be done again where it was interrupted.
        """
        missing = [span for span in self._unread(cached) if not self._has(span)]
        if not missing:
            return
        if self._first is None:
            self._first = cached
            self._tell(cached)
        span, began = missing[0], time.perf_counter()
        features = self._sights.eyes.encode(span.image, span.tile, stop)
        self._seconds[span.key] = time.perf_counter() - began
        self._held[span.key] = features
        self._sights.eyes.cache.put(span.key, features)
        self._tell(cached)

    def row(self, ids: Sequence[int], start: int) -> tuple[Sequence[int], dict[str, Any]]:
        """`ids` from position `start` on as the tokens of a row, and what goes with them.

        A token -1 - k is row k of the `features`. `positions` are those of the rotary embedding.
        """
        import numpy as np

        end, tokens, parts, count = start + len(ids), list(ids), [], 0
        for span in self._unread(start):
            if span.start >= end:
                break
            first, last = max(span.start, start), min(span.end, end)
            parts.append(self._held[span.key][first - span.start : last - span.start])
            tokens[first - start : last - start] = range(-1 - count, -1 - count - last + first, -1)
            count += last - first
        given: dict[str, Any] = {"features": np.concatenate(parts)} if parts else {}
        known = self._sights.positions
        if known is not None:
            # Behind the prompt all axes go on together, from the largest of its positions.
            beyond = known.max() + 1 + np.arange(max(0, end - len(known)), dtype=np.int32)
            rows = [known[start:end], np.repeat(beyond[-len(ids) :, None], known.shape[1], 1)]
            given["positions"] = np.concatenate(rows)
        return tokens, given

    def _unread(self, cached: int) -> Sequence[Span]:
        return [span for span in self._sights.spans if span.end > cached]

    def _has(self, span: Span) -> bool:
        if span.key in self._held:
            return True
        found = self._sights.eyes.cache.get(span.key)
        if found is not None:
            self._held[span.key] = found
        return found is not None

    def _let_go(self, cached: int) -> None:
        unread = {span.key for span in self._unread(cached)}
        for key in [key for key in self._held if key not in unread]:
            del self._held[key]

    def _tell(self, cached: int) -> None:
        progress, first = self._sights.progress, self._first
        if progress is None or first is None:
            return
        wanted = {span.key for span in self._unread(first)}
        left = {span.key for span in self._unread(cached) if not self._has(span)}
        progress(LABEL, len(wanted) - len(left), len(wanted))
