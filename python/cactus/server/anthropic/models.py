"""The list of models in Anthropic's shape, at the path that OpenAI's clients use, too."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Literal

from cactus.server.endpoint import Ask, Reply
from cactus.server.models import Served


class ModelInfo(Reply, kw_only=True):
    """One model."""

    id: str
    type: Literal["model"] = "model"
    display_name: str
    created_at: str
    lifecycle: Literal["active"] = "active"
    max_input_tokens: int | None = None


class ModelPage(Reply, kw_only=True):
    """All models that are served, on one page."""

    data: list[ModelInfo]
    has_more: Literal[False] = False
    first_id: str | None
    last_id: str | None


def wants(ask: Ask[Any]) -> bool:
    """Whether it is one of Anthropic's clients that asks."""
    return "anthropic-version" in ask.request.headers


def page(ask: Ask[Any]) -> ModelPage:
    """All models, the default first."""
    found = [info(served) for served in ask.service.served]
    ends = (found[0].id, found[-1].id) if found else (None, None)
    return ModelPage(data=found, first_id=ends[0], last_id=ends[1])


def info(served: Served) -> ModelInfo:
    """One model; how long its prompts may be where it is loaded."""
    made = datetime.fromtimestamp(int(served.folder.stat().st_mtime), timezone.utc)
    return ModelInfo(
        id=served.name,
        display_name=served.name,
        created_at=made.isoformat().replace("+00:00", "Z"),
        max_input_tokens=None if served.model is None else served.model.context_length,
    )
