"""The handshake of a session, and secrets with which a page may open one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta
from starlette.websockets import WebSocket

from cactus.inputs.checks import short
from cactus.server.endpoint import Ask, Body, Endpoint, Reply, Socket
from cactus.server.guard.keys import is_key_protocol
from cactus.server.openai.errors import DIALECT
from cactus.server.openai.realtime.connection import Connection
from cactus.server.openai.realtime.events import SessionConfig, SessionReply
from cactus.server.openai.realtime.settings import SessionSettings, new_id
from cactus.server.params import invalid

if TYPE_CHECKING:
    from cactus.server.current import Current
    from cactus.server.service import Service


async def realtime(socket: WebSocket, service: Service, current: Current) -> None:
    """Serve one client. Raises ApiError for what is not there, before it is let in."""
    intent = socket.query_params.get("intent", "transcription")
    if intent != "transcription":
        raise invalid(
            f"expected transcription, got {short(intent)}: this server writes down what is said",
            "intent",
        )
    settings: SessionSettings | None = socket.scope.get("cactus.session")
    named = socket.query_params.get("model")
    if settings is None or named:
        model = service.find(named, "transcribe").name
        settings = SessionSettings(model) if settings is None else replace(settings, model=model)
    offered = socket.scope.get("subprotocols") or []
    old = "realtime=v1" in socket.headers.get("openai-beta", "") or (
        "openai-beta.realtime-v1" in offered
    )
    await socket.accept(_chosen(offered))
    await Connection(socket, service, settings, current, old=old).run()


def _chosen(offered: list[str]) -> str | None:
    """The sub-protocol that is answered: a browser wants one of those it has offered.

    What carries a key is the last choice.
    """
    return min(offered, key=lambda name: (name != "realtime", is_key_protocol(name)), default=None)


class ExpiresAfter(Body, kw_only=True):
    """How long a secret opens sessions; those that are open go on."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=10, le=7200)] = 600


class SecretRequest(Body, kw_only=True):
    """A secret, and what the sessions are like that it opens."""

    expires_after: ExpiresAfter | None = None
    session: SessionConfig | None = None


class SecretReply(Reply, kw_only=True):
    """It is sent as a key; `expires_at` is in seconds since 1970."""

    value: str
    expires_at: int
    session: SessionReply


async def make_secret(ask: Ask[SecretRequest]) -> SecretReply:
    """A secret for somebody who is not to have the key, such as a page."""
    service, body = ask.service, ask.body
    model = service.find(None, "transcribe").name
    settings = SessionSettings(model).updated(body.session or SessionConfig(), service)
    seconds = (body.expires_after or ExpiresAfter()).seconds
    value, expires_at = service.short_keys.make(ask.tenant, settings, seconds)
    return SecretReply(value=value, expires_at=expires_at, session=settings.reply(new_id()))


ENDPOINTS = [
    Endpoint(
        "POST",
        "/v1/realtime/client_secrets",
        make_secret,
        DIALECT,
        "Make a secret that opens sessions, and ends by itself.",
        body=SecretRequest,
        reply=SecretReply,
        errors=(404, 429),
        tag="realtime",
    ),
]

SOCKETS = [Socket("/v1/realtime", realtime, DIALECT, "Write down what is being said.")]
