"""``/cactus/status`` is what the page asks first, ``/cactus/running`` what ``cactus ps`` asks."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any, Literal

from cactus.server.endpoint import Ask, Endpoint, Reply
from cactus.server.models import Served
from cactus.server.openai.errors import DIALECT
from cactus.server.template import calls_tools, template_of, thinks
from cactus.weights import locate

Able = Literal["chat", "see", "embed", "rerank", "transcribe", "think", "tools"]


class ModelStatus(Reply, kw_only=True):
    """One model, and what it can do."""

    id: str
    abilities: list[Able]
    context_length: int | None
    loaded: bool
    default: bool


class Documents(Reply, kw_only=True):
    """The folder that chats may be answered from."""

    name: str
    files: int
    passages: int


class Tool(Reply, kw_only=True):
    """A function that models may call here."""

    name: str
    description: str


class Status(Reply, kw_only=True):
    """What there is. Without the key that is needed, only that it is."""

    version: str
    models: list[ModelStatus]
    documents: Documents | None
    tools: list[Tool]
    needs_key: bool


class RunningModel(Reply, kw_only=True):
    """A model, and what it takes while it is loaded. `idle_seconds` is null while it is used."""

    id: str
    loaded: bool
    requests: int
    bytes: int
    kv_bytes: int
    context_length: int | None
    idle_seconds: float | None
    keep_seconds: float | None


class Tenant(Reply, kw_only=True):
    """What a key has used; `id` says nothing of it, and is null where there are no keys.

    Those of administrators see all, others themselves.
    """

    id: str | None
    running: int
    waiting: int
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


class Running(Reply, kw_only=True):
    """What the server does just now."""

    version: str
    pid: int
    uptime_seconds: float
    ready: bool
    running: int
    waiting: int
    memory_budget: int | None
    memory_reserved: int
    models: list[RunningModel]
    tenants: list[Tenant]


async def status(ask: Ask[None]) -> Status:
    """What there is."""
    service = ask.service
    needs_key = bool(service.settings.keys)
    if needs_key and ask.tenant is None:
        return Status(
            version=service.version, models=[], documents=None, tools=[], needs_key=needs_key
        )
    rows = await asyncio.to_thread(lambda: [_model(one) for one in service.served])
    first = next((n for n, row in enumerate(rows) if "chat" in row["abilities"]), 0)
    models = [ModelStatus(**row, default=n == first) for n, row in enumerate(rows)]
    documents = None
    if service.documents is not None:
        found = service.documents
        files, passages = await asyncio.to_thread(lambda: (found.files, found.chunks))
        documents = Documents(name=found.folder.name, files=files, passages=passages)
    tools = [Tool(name=each.__name__, description=_first_line(each)) for each in service.tools]
    return Status(
        version=service.version,
        models=models,
        documents=documents,
        tools=tools,
        needs_key=needs_key,
    )


def _first_line(function: Any) -> str:
    return (function.__doc__ or "").strip().partition("\n")[0]


def _model(served: Served) -> dict[str, Any]:
    able: list[str] = [
        name
        for name in ("chat", "see", "embed", "rerank", "transcribe")
        if name in served.abilities
    ]
    if "chat" in able:
        template = template_of(served.folder)
        able += ["think"] * thinks(template)
        able += ["tools"] * calls_tools(template)
    return {
        "id": served.name,
        "abilities": able,
        "context_length": context_of(served),
        "loaded": served.model is not None,
    }


def context_of(served: Served) -> int | None:
    """The most tokens of a prompt and its answer; None where nothing says it."""
    if served.model is not None:
        return served.model.context_length
    if served.fit is not None:
        return served.fit.context_length
    config = locate.read_config(served.folder)
    text = config.get("text_config")
    length = (text if isinstance(text, dict) else config).get("max_position_embeddings")
    return length if isinstance(length, int) else None


async def running(ask: Ask[None]) -> Running:
    """What the server does just now."""
    service, now = ask.service, time.monotonic()
    models = [
        RunningModel(
            id=one.name,
            loaded=one.model is not None,
            requests=one.users,
            bytes=one.bytes,
            kv_bytes=0 if one.model is None else one.model.kv_bytes,
            context_length=context_of(one),
            idle_seconds=None if one.users or one.model is None else now - one.used,
            keep_seconds=service.models.keep_of(one),
        )
        for one in service.served
    ]
    tenants = []
    for tenant, used in service.meter.used.items():
        if not ask.admin and tenant != ask.tenant:
            continue
        active, waiting = service.admission.of(tenant)
        tenants.append(
            Tenant(
                id=tenant,
                running=active,
                waiting=waiting,
                requests=used.requests,
                prompt_tokens=used.prompt_tokens,
                cached_tokens=used.cached_tokens,
                completion_tokens=used.completion_tokens,
            )
        )
    return Running(
        version=service.version,
        pid=os.getpid(),
        uptime_seconds=time.monotonic() - service.meter.began,
        ready=not service.draining,
        running=service.admission.running,
        waiting=service.admission.waiting,
        memory_budget=service.models.budget,
        memory_reserved=service.models.used,
        models=models,
        tenants=tenants,
    )


ENDPOINTS = [
    Endpoint(
        "GET",
        "/cactus/status",
        status,
        DIALECT,
        "What there is: models, documents, tools.",
        reply=Status,
        open=True,
    ),
    Endpoint(
        "GET",
        "/cactus/running",
        running,
        DIALECT,
        "What the server does just now: models in memory, requests of each key.",
        reply=Running,
    ),
]
