"""``/v1/models``."""

from __future__ import annotations

from typing import Literal

from cactus.server.anthropic import models as anthropic
from cactus.server.endpoint import Ask, Endpoint, Reply
from cactus.server.models import Served
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


async def list_models(ask: Ask[None]) -> ModelList | anthropic.ModelPage:
    """All models, the default first; in Anthropic's shape for its clients."""
    if anthropic.wants(ask):
        return anthropic.page(ask)
    return ModelList(data=[_object(one) for one in ask.service.served])


async def one_model(ask: Ask[None]) -> ModelObject | anthropic.ModelInfo:
    """One model. Raises ApiError 404."""
    found = ask.service.known(ask.request.path_params["model"])
    return anthropic.info(found) if anthropic.wants(ask) else _object(found)


def _object(one: Served) -> ModelObject:
    return ModelObject(id=one.name, created=int(one.folder.stat().st_mtime))


ENDPOINTS = [
    Endpoint(
        "GET", "/v1/models", list_models, DIALECT, "List the models.", reply=ModelList, tag="models"
    ),
    Endpoint(
        "GET",
        "/v1/models/{model:path}",
        one_model,
        DIALECT,
        "Show a model.",
        reply=ModelObject,
        errors=(404,),
        tag="models",
    ),
]
