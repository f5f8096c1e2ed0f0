"""The programs of a model that sees besides that of its tokens: the tower and the projector.

Their graphs are made here, so that this file's code is in the key of kept plans.
"""

from __future__ import annotations

from cactus.engine.programs import Part, Traced
from cactus.errors import UnsupportedModel
from cactus.graph.node import Graph
from cactus.models.base import Architecture
from cactus.models.vision import VisionConfig

MAX_ROWS = 4096
"""The most rows of a projector's step: those of more features take several."""


def _tower(model: Architecture) -> Traced:
    return Traced(tower_graph(model), 0, _config(model).max_patches)


def tower_graph(model: Architecture) -> Graph:
    """The tower, with the states of each layer of the deepstack as a further output."""
    graph = model.build_tower()
    layers = [graph.node(f"vision_tower.blocks.{i}.add_2") for i in _config(model).deepstack]
    return Graph.of([*graph.outputs, *layers], graph.slots, graph.weights)


def _projector(model: Architecture) -> Traced:
    return Traced(model.build_projector(), 0, _most_features(model))


TOWER = Part("tower", "plan-tower.bin", _tower, chunk=None)
"""Takes the patches of tiles, each with its pixels and its position, and gives their states."""

PROJECTOR = Part("projector", "plan-projector.bin", _projector, chunk=None)
"""Takes rows of the tower's states as the family gathers them, and gives image features."""


def deepstack(index: int) -> Part:
    """The projector of one of the layers of a deepstack, as `PROJECTOR`."""

    def trace(model: Architecture) -> Traced:
        return Traced(model.build_deepstack(index), 0, _most_features(model))

    return Part(f"deepstack-{index}", f"plan-deepstack-{index}.bin", trace, chunk=None)


def _most_features(model: Architecture) -> int:
    vision = _config(model)
    return min(vision.max_patches // vision.factor**2, MAX_ROWS)


def _config(model: Architecture) -> VisionConfig:
    vision = getattr(model.config, "vision", None)
    if not isinstance(vision, VisionConfig):
        raise UnsupportedModel(f"a model of {model.config.model_type} sees no images")
    return vision
