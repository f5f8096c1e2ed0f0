"""One question over HTTPS: its limits, its tries, and what each way to fail is called."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cactus.cloud.reading import Reading, bad, error_text
from cactus.cloud.settings import Limits, Settings, is_local
from cactus.cloud.sse import EventReader
from cactus.errors import CloudError
from cactus.inputs.text import one_line, reason_of

if TYPE_CHECKING:
    import httpx

log = logging.getLogger("cactus.cloud")

TRIES = 3
BACKOFF = 0.5  # seconds before the second try, twice as many before the next
MAX_REPLY = 8 << 20
MAX_ERROR = 64 << 10
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


class _FailedError(Exception):
    """A try failed in a way that another one may not; `wait` is in seconds, None: as usual."""

    def __init__(self, error: CloudError, wait: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self.wait = error, wait


class Request:
    """A question on its way: tried until there is a reply, or none can be hoped for.

    `heard` is told after each piece, and says whether something of the reply was given on: from
    then on nothing is tried again.
    """

    def __init__(
        self,
        settings: Settings,
        headers: Mapping[str, str],
        body: Mapping[str, Any],
        reading: Callable[[], Reading],
        heard: Callable[[Reading], bool],
        context: ssl.SSLContext,
        limits: Limits,
    ) -> None:
        self._settings, self._reading, self._heard = settings, reading, heard
        self._context, self._limits = context, limits
        self._headers = {
            **headers,
            "Content-Type": "application/json",
            "Accept": "text/event-stream, application/json",
            "Accept-Encoding": "identity",
        }
        self._body = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        self._given = False

    async def reply(self) -> Reading:
        """The whole reply. Raises CloudError, which never has the key in it."""
        try:
            return await asyncio.wait_for(self._try(), self._limits.total)
        except asyncio.TimeoutError:  # not TimeoutError: it is another class before Python 3.11
            raise CloudError(
                f"{self._settings.host} gave no whole answer in {self._limits.total:g} s",
                code="timeout",
            ) from None

    async def _try(self) -> Reading:
        import httpx

        ends = time.monotonic() + self._limits.total
        limits = httpx.Timeout(self._limits.read, connect=self._limits.connect)
        # A proxy of the environment gets an encrypted tunnel; http:// goes to this machine alone.
        proxies = not is_local(self._settings.base_url)
        async with httpx.AsyncClient(
            verify=self._context,
            timeout=limits,
            trust_env=proxies,
            follow_redirects=False,
        ) as client:
            for attempt in range(TRIES):
                try:
                    return await self._once(client)
                except _FailedError as failure:
                    wait = failure.wait
                    if wait is None:
                        wait = BACKOFF * 2**attempt * random.uniform(0.75, 1.25)
                    over = attempt == TRIES - 1 or time.monotonic() + wait >= ends
                    if over or self._given:
                        raise failure.error from None
                    log.info("%s; again in %.1f s", one_line(str(failure)), wait)
                await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def _once(self, client: httpx.AsyncClient) -> Reading:
        import httpx

        request = client.build_request(
            "POST", self._settings.url, headers=self._headers, content=self._body
        )
        try:
            response = await client.send(request, stream=True)
            try:
                await self._check(response)
                return await self._read(response)
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ImportError) as error:
            failure = self._classify(error)
        raise failure

    async def _check(self, response: httpx.Response) -> None:
        """Raises for every answer but a reply."""
        status, host = response.status_code, self._settings.host
        if 200 <= status < 300:
            return
        if 300 <= status < 400:
            target = urlsplit(response.headers.get("location", "")).netloc
            raise CloudError(
                f"{host} sends on to {one_line(target) or 'another address'}: a key is not sent "
                "on; if this is right, make it the base URL",
                code="redirect",
            )
        said = error_text(_json_or_none(await self._body_of(response, MAX_ERROR)))
        error = CloudError(
            self._clean(f"{host} answers {status}{_meaning(status)}{': ' if said else ''}{said}"),
            code=f"http_{status}",
        )
        if status in _AGAIN:
            raise _FailedError(error, _retry_after(response.headers))
        raise error

    async def _read(self, response: httpx.Response) -> Reading:
        reading = self._reading()
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            await self._follow(response, reading)
        else:
            text = await self._body_of(response, MAX_REPLY)
            reading.whole(_parse(text))
        try:
            reading.check_whole()
        except CloudError as error:
            raise _FailedError(error) from None
        reading.function_calls()
        return reading

    async def _follow(self, response: httpx.Response, reading: Reading) -> None:
        """Read the events of a stream as they come."""
        events, size = EventReader(), 0
        async for piece in response.aiter_bytes():
            size = self._count(size, piece, MAX_REPLY)
            try:
                found = events.feed(piece)
            except UnicodeDecodeError:
                raise bad("not UTF-8") from None
            for data in found:
                if data.strip() == "[DONE]":
                    reading.reason = reading.reason or "stop"
                    return
                reading.event(_parse(data))
            self._given = self._heard(reading) or self._given

    async def _body_of(self, response: httpx.Response, most: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        async for piece in response.aiter_bytes():
            size = self._count(size, piece, most)
            parts.append(piece)
        return b"".join(parts)

    def _count(self, size: int, piece: bytes, most: int) -> int:
        if size + len(piece) > most:
            raise CloudError(
                f"the reply of {self._settings.host} is longer than {most} bytes", code="too_long"
            )
        return size + len(piece)

    def _classify(self, error: Exception) -> Exception:
        """What an error of the connection means, without what it holds on to."""
        import httpx

        host = self._settings.host
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return CloudError(
                    f"the certificate of {host} is not trusted: {one_line(cause.verify_message)}; "
                    "SSL_CERT_FILE can name your authorities",
                    code="tls",
                )
            if isinstance(cause, ssl.SSLError) and isinstance(error, httpx.ConnectError):
                return CloudError(f"no secure connection to {host}: {cause.reason}", code="tls")
            if isinstance(cause, socket.gaierror):
                return CloudError(f"{host} is not known: {reason_of(cause)}", code="dns")
        if isinstance(error, httpx.ConnectTimeout):
            return CloudError(
                f"no connection to {host} in {self._limits.connect:g} s", code="timeout"
            )
        if isinstance(error, httpx.TimeoutException):
            return CloudError(f"{host} said nothing for {self._limits.read:g} s", code="timeout")
        if isinstance(error, httpx.ConnectError):
            return CloudError(f"no connection to {host}: {self._clean(str(error))}", code="connect")
        if isinstance(error, httpx.DecodingError):
            return bad("its encoding is broken")
        if isinstance(error, (httpx.ReadError, httpx.RemoteProtocolError, httpx.WriteError)):
            return _FailedError(
                CloudError(
                    f"{host} broke the connection off: {self._clean(str(error))}", code="reset"
                )
            )
        kind = type(error).__name__
        return CloudError(f"{host}: {kind}: {self._clean(str(error))}", code="connection")

    def _clean(self, text: str) -> str:
        """A text from outside that may be shown: one line, not long, without the key."""
        key = self._settings.key
        return one_line(text if key is None else key.hidden_in(text))


def _meaning(status: int) -> str:
    return {
        401: " (it does not accept the key)",
        403: " (the key may not do this)",
        404: " (there is no such model or address)",
        429: " (too many requests, or no credit left)",
    }.get(status, "")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a service asks to wait, as a number or as a date; None if it does not."""
    value = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        pass
    with suppress(ValueError, TypeError, OverflowError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _parse(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise bad("it is not JSON") from None


def _json_or_none(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


class Loop(asyncio.SelectorEventLoop):
    """An event loop for one conversation with a service, which leaves nothing behind.

    Names are looked up in a thread that nobody waits for: that cannot be ended, and may take half
    a minute where there is no network.
    """

    async def getaddrinfo(self, *arguments: Any, **options: Any) -> Any:
        """`socket.getaddrinfo`, with its arguments."""
        future = self.create_future()

        def give(result: Any, error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def look_up() -> None:
            result, failed = None, None
            try:
                result = socket.getaddrinfo(*arguments, **options)
            except Exception as error:
                failed = error
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self.call_soon_threadsafe(give, result, failed)

        threading.Thread(target=look_up, name="cactus-cloud-name", daemon=True).start()
        return await future
