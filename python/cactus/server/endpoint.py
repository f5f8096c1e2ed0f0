"""The table of what the server answers: the router and /openapi.json are made from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

import msgspec

from cactus.server.errors import ApiError

if TYPE_CHECKING:
    from starlette.datastructures import FormData
    from starlette.requests import Request
    from starlette.websockets import WebSocket

    from cactus.server.current import Current
    from cactus.server.service import Service

B = TypeVar("B")


class Body(msgspec.Struct):
    """A body that a client sends. Fields that are not listed are ignored, unless it says not."""


class Reply(msgspec.Struct):
    """A JSON body that is sent back, or the data of one event of a stream."""


class Dialect(Protocol):
    """How one family of clients wants its errors."""

    name: str
    error_type: type[Reply]

    def error(self, error: ApiError) -> Reply:
        """The body of an error."""
        ...

    def event_error(self, error: ApiError) -> bytes:
        """The whole event of an error in the middle of a stream."""
        ...


@dataclass
class Ask(Generic[B]):
    """One request on its way: what was sent, by whom, and what may answer it.

    `tenant` stands for the key that was given: requests of one share prefixes and their part of the
    machine. `admin`: it is of whoever looks after the server. `form` is there instead of `body`
    where a form was sent.
    """

    request: Request
    service: Service
    body: B
    tenant: str | None = None
    admin: bool = False
    form: FormData | None = None


@dataclass(frozen=True)
class Stream:
    """An answer in pieces. `events` are whole events, as bytes that are sent at once.

    Nothing is sent before the first is there, so that what fails before it is a plain error. `ping`
    is sent where nothing else was for a while, instead of what is usual for the form.
    """

    events: AsyncIterator[bytes]
    form: Literal["sse", "ndjson"] = "sse"
    headers: Mapping[str, str] = field(default_factory=dict)
    ping: bytes = b""


Answer = Any
"""A `Reply` (or any value that msgspec can write), a `Stream`, or a Starlette response."""


@dataclass(frozen=True)
class Endpoint:
    """One path and method. `body`, `reply` and `event` are types that say what passes.

    `form`: the body is multipart/form-data whose fields `body` names. `media` is the type of a
    reply that is not JSON. `errors`: the statuses that it may answer with, beside 400 and 500.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    handle: Callable[[Ask[Any]], Awaitable[Answer]]
    dialect: Dialect
    summary: str
    body: Any = None
    reply: Any = None
    event: Any = None
    form: bool = False
    media: str = "application/json"
    texts: bool = False
    """Whether a reply may be plain text, too."""
    errors: Sequence[int] = ()
    tag: str = ""
    admin: bool = False
    """Whether it changes what is loaded or stored: for whoever looks after the server alone."""
    counts: bool = False
    """Whether it tells what all have used: where there are keys, not to each."""
    open: bool = False
    """Whether it answers without a key, too."""


@dataclass(frozen=True)
class Socket:
    """One path that speaks WebSocket. `handle` gets it before it is accepted.

    What `handle` raises before it accepts is answered as an error, after that with a close.
    It ends by itself when the service drains, and at once where `ended` of its `Current` is set.
    """

    path: str
    handle: Callable[[WebSocket, Service, Current], Awaitable[None]]
    dialect: Dialect
    summary: str


def encode(value: Any) -> bytes:
    """JSON as UTF-8."""
    return msgspec.json.encode(value)


def sse(value: Any, event: str | None = None) -> bytes:
    """One server-sent event."""
    head = b"" if event is None else b"event: " + event.encode() + b"\n"
    return head + b"data: " + encode(value) + b"\n\n"


def ndjson(value: Any) -> bytes:
    """One line of JSON."""
    return encode(value) + b"\n"
