"""The handshake of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.websockets import WebSocket

from cactus.server.endpoint import Socket
from cactus.server.guard.keys import is_key_protocol
from cactus.server.openai.errors import DIALECT
from cactus.server.openai.realtime.connection import Connection
from cactus.server.params import invalid

if TYPE_CHECKING:
    from cactus.server.current import Current
    from cactus.server.service import Service


async def realtime(socket: WebSocket, service: Service, current: Current) -> None:
    """Serve one client. Raises ApiError for what is not there, before it is let in."""
    intent = socket.query_params.get("intent", "transcription")
    if intent != "transcription":
        raise invalid(
            f"expected transcription, got {intent!r:.60}: this server writes down what is said",
            "intent",
        )
    model = service.find(socket.query_params.get("model"), "transcribe").name
    offered = socket.scope.get("subprotocols") or []
    old = "realtime=v1" in socket.headers.get("openai-beta", "") or (
        "openai-beta.realtime-v1" in offered
    )
    await socket.accept(_chosen(offered))
    await Connection(socket, service, model, current, old=old).run()


def _chosen(offered: list[str]) -> str | None:
    """The sub-protocol that is answered: a browser wants one of those it has offered.

    What carries a key is the last choice.
    """
    return min(offered, key=lambda name: (name != "realtime", is_key_protocol(name)), default=None)


SOCKETS = [Socket("/v1/realtime", realtime, DIALECT, "Write down what is being said.")]
