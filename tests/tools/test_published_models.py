"""The published configurations and the catalog tell the same about a model."""

from __future__ import annotations

from typing import Any

from cactus.weights import catalog


def test_the_catalog_has_every_published_model_as_it_is(tool: Any) -> None:
    for model in (*tool("published_models").PUBLISHED, *tool("published_vision").VISION):
        entry = catalog.find(model.hub_id)
        assert entry is not None, model.hub_id
        assert entry.hub_id == model.hub_id
        assert entry.parameters == round(model.parameters / 1e6)
        assert entry.model_type == model.config["model_type"]
