"""``/api/tags``, ``/api/show``, ``/api/ps``, ``/api/version``, ``/api/delete``."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.responses import Response

from cactus.inputs.checks import short
from cactus.server.endpoint import Ask, Body, Endpoint, Reply
from cactus.server.errors import ApiError
from cactus.server.models import Served
from cactus.server.ollama.errors import DIALECT
from cactus.server.ollama.facts import Details, Facts, facts_of
from cactus.server.ollama.reply import stamp
from cactus.server.params import invalid
from cactus.server.template import template_of

SPOKEN = "0.12.0"
"""The version of Ollama's interface that is spoken: clients look whether it is new enough."""

NEVER = "0001-01-01T00:00:00Z"
"""When a model is let go that stays until others need its room."""


class TagsModel(Reply, kw_only=True):
    """One model."""

    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: Details


class TagsReply(Reply, kw_only=True):
    """All models that are served."""

    models: list[TagsModel]


class PsModel(TagsModel, kw_only=True):
    """One model in memory."""

    expires_at: str
    size_vram: int
    context_length: int


class PsReply(Reply, kw_only=True):
    """The models in memory."""

    models: list[PsModel]


class NameRequest(Body, kw_only=True):
    """A model, under either name of the field."""

    model: str | None = None
    name: str | None = None

    @property
    def wanted(self) -> str:
        """Its name. Raises ApiError."""
        found = self.model or self.name
        if not found:
            raise invalid("expected the name of a model", "model")
        return found


class ShowRequest(NameRequest, kw_only=True):
    """A model that is to be described."""

    verbose: bool | None = None


class ShowReply(Reply, kw_only=True):
    """What a model is."""

    modelfile: str
    parameters: str
    template: str
    license: str
    details: Details
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


class VersionReply(Reply, kw_only=True):
    """`version` is that of Ollama's interface, `cactus` the server's own."""

    version: str
    cactus: str


async def tags(ask: Ask[None]) -> TagsReply:
    """List the models."""
    found = await asyncio.to_thread(lambda: [_tag(one) for one in ask.service.served])
    return TagsReply(models=[TagsModel(**each) for each in found])


async def ps(ask: Ask[None]) -> PsReply:
    """List the models in memory."""
    models = []
    for served in ask.service.served:
        model = served.model
        if model is not None:
            row = await asyncio.to_thread(_tag, served)
            models.append(
                PsModel(
                    **row,
                    size_vram=0,
                    context_length=model.context_length,
                    expires_at=_expiry(served, ask.service.models.keep_of(served)),
                )
            )
    return PsReply(models=models)


async def show(ask: Ask[ShowRequest]) -> ShowReply:
    """Describe a model."""
    served = ask.service.known(ask.body.wanted)
    return await asyncio.to_thread(_shown, served)


async def version(ask: Ask[None]) -> VersionReply:
    """Say which version this is."""
    return VersionReply(version=SPOKEN, cactus=ask.service.version)


async def delete(ask: Ask[NameRequest]) -> Response:
    """Delete a model from this machine."""
    served = ask.service.known(ask.body.wanted)
    if ask.body.wanted.removesuffix(":latest") != served.name:
        raise ApiError(
            404,
            f"no model has the name {short(ask.body.wanted)}; to delete {served.name!r}, give its "
            "whole name",
            code="model_not_found",
            param="model",
        )
    await ask.service.remove(served)
    return Response(status_code=200)


def _tag(served: Served) -> dict[str, Any]:
    facts = facts_of(served.folder)
    return {
        "name": served.name,
        "model": served.name,
        "modified_at": stamp(facts.modified),
        "size": facts.size,
        "digest": facts.digest,
        "details": facts.details,
    }


def _shown(served: Served) -> ShowReply:
    facts = facts_of(served.folder)
    return ShowReply(
        modelfile=f"FROM {served.name}\n",
        parameters=_parameters(served, facts),
        template=template_of(served.folder),
        license=facts.license or "",
        details=facts.details,
        model_info=facts.model_info(),
        capabilities=facts.capabilities(served),
        modified_at=stamp(facts.modified),
    )


_PARAMETERS = {"repetition_penalty": "repeat_penalty"}


def _parameters(served: Served, facts: Facts) -> str:
    """How its makers sample it, as lines of a Modelfile."""
    from cactus.engine.defaults import SamplingDefaults
    from cactus.engine.loading import sampling_defaults

    found = sampling_defaults(served.folder)
    if isinstance(found, Exception) or "chat" not in served.abilities:
        return ""
    off = SamplingDefaults().options()
    return "\n".join(
        f"{_PARAMETERS.get(name, name):<30} {value:g}"
        for name, value in found.options().items()
        if value != off[name]
    )


def _expiry(served: Served, keep: float | None) -> str:
    """When it is let go, if nobody asks for it until then."""
    if keep is None:
        return NEVER
    idle = 0.0 if served.users else time.monotonic() - served.used
    return stamp(time.time() + max(0.0, keep - idle))


ENDPOINTS = [
    Endpoint("GET", "/api/tags", tags, DIALECT, "List the models.", reply=TagsReply),
    Endpoint("GET", "/api/ps", ps, DIALECT, "List the models in memory.", reply=PsReply),
    Endpoint("GET", "/api/version", version, DIALECT, "Say the version.", reply=VersionReply),
    Endpoint(
        "POST",
        "/api/show",
        show,
        DIALECT,
        "Describe a model.",
        body=ShowRequest,
        reply=ShowReply,
        errors=(404,),
    ),
    Endpoint(
        "DELETE",
        "/api/delete",
        delete,
        DIALECT,
        "Delete a model.",
        body=NameRequest,
        errors=(404, 409),
        admin=True,
    ),
]
