"""A server at an http(s) address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

MAX_RESPONSE = 16 << 20
"""Bytes of one response, however many messages it has."""


@asynccontextmanager
async def web(url: str, seconds: float) -> AsyncIterator[Any]:
    """The streams of messages from and to the server at `url`."""
    client = httpx2.AsyncClient(
        transport=_Bounded(httpx2.AsyncHTTPTransport()),
        headers={"Accept-Encoding": "identity"},
        timeout=httpx2.Timeout(30.0, read=seconds + 10),
    )
    async with client, streamable_http_client(url, http_client=client) as streams:
        yield streams


class _Bounded(httpx2.AsyncBaseTransport):
    """Responses of `MAX_RESPONSE` bytes at most."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response to a request."""
        response = await self._inner.handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.stream.aclose()
            raise httpx2.ReadError("the response is compressed, which was not asked for")
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Counted(response.stream),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._inner.aclose()


class _Counted(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._inner:
            size += len(part)
            if size > MAX_RESPONSE:
                # Of all errors this one ends the request alone, and not the session.
                raise httpx2.StreamError(f"the response has more than {MAX_RESPONSE:,} bytes")
            yield part

    async def aclose(self) -> None:
        await self._inner.aclose()
