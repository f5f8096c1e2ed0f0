"""From tiles to features, family by family: what transformers computed on tiny random models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cactus.engine.options import LoadOptions
from cactus.engine.programs import TOKENS, Programs
from cactus.vision.encoder import Encoder
from cactus.vision.gaze import PromptImage, place, positions_of
from cactus.vision.processors import Tile
from tests.models import vision
from tests.tolerances import assert_close


@pytest.fixture(scope="module", params=vision.NAMES)
def golden(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return vision.load(request.param, tmp_path_factory.mktemp("families"))


@pytest.fixture(scope="module")
def encoder(golden: vision.Golden) -> Iterator[Encoder]:
    with ExitStack() as owned:
        options = LoadOptions(isa="avx2", activations="int12")
        kind = golden.architecture.config.model_type
        programs = owned.enter_context(Programs(golden.folder, kind, options))
        programs.start(TOKENS)
        engine: Any = SimpleNamespace(folder=golden.folder, programs=programs)
        yield Encoder(engine, golden.vision)


def tiles(golden: vision.Golden) -> list[Tile]:
    pixels, found, start = golden.arrays["patches"], [], 0
    for grid in golden.grids:
        end = start + grid[0] * grid[1]
        found.append(Tile(pixels[start:end], grid))
        start = end
    return found


def test_states_and_features_of_tiles_are_those_of_transformers(
    golden: vision.Golden, encoder: Encoder
) -> None:
    states = np.concatenate([encoder.states(tile, None) for tile in tiles(golden)])
    assert_close(states, golden.arrays["states"], "f16", "states")
    features = np.concatenate([encoder.features(tile, None) for tile in tiles(golden)])
    assert_close(features, golden.arrays["features"], "f16", "features")
    assert features.shape[1] == golden.vision.width


def test_rotary_positions_of_a_prompt_are_those_of_transformers(golden: vision.Golden) -> None:
    if "token_positions" not in golden.arrays:
        assert golden.vision.merging != "in order"
        return
    ids, factor = golden.arrays["input_ids"].tolist(), golden.vision.factor
    images, number = [], 0
    for grid in golden.grids:
        count = grid[0] * grid[1] // factor**2
        images.append(PromptImage(bytes([number]), number, (count,), (grid,), None))
        number += count
    _, spans = place(ids, golden.vision.image_token_id, images)
    assert (positions_of(len(ids), spans, factor) == golden.arrays["token_positions"]).all()
