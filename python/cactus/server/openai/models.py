"""``/v1/models``."""

from __future__ import annotations

from typing import Literal

from cactus.server.endpoint import Ask, Endpoint, Reply
from cactus.server.openai.errors import DIALECT


class ModelObject(Reply, kw_only=True):
    """One model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "cactus"


class ModelList(Reply, kw_only=True):
    """All models that are served."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


async def list_models(ask: Ask[None]) -> ModelList:
    """All models, the default first."""
    found = [
        ModelObject(id=one.name, created=int(one.folder.stat().st_mtime))
        for one in ask.service.served
    ]
    return ModelList(data=found)


ENDPOINTS = [
    Endpoint("GET", "/v1/models", list_models, DIALECT, "List the models.", reply=ModelList),
]
