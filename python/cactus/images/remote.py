"""An image from an address of the network: only public ones, looked up once, within limits."""

from __future__ import annotations

import ipaddress
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from cactus.errors import InvalidImage
from cactus.images.picture import Limits
from cactus.inputs.text import cut, one_line, reason_of
from cactus.inputs.tls import tls_context

if TYPE_CHECKING:
    import httpx

SECONDS = 10.0
"""All of it: looking up names, redirects, and the last byte."""

REDIRECTS = 5
_PAUSE = 5.0  # in seconds; what goes on longer is ended by SECONDS

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def fetch(url: str, limits: Limits) -> tuple[bytes, str]:
    """The bytes at an http(s) address, and what to call it in messages. Raises InvalidImage.

    Each host is looked up once, and the connection goes to what was found, if all of it is public;
    so does each redirect. Proxies are not used: they would look names up themselves.
    """
    work = _Fetch(url, limits)
    # A thread of its own: looking up a name, or a server that sends byte by byte, has no end.
    thread = threading.Thread(target=work.run, name="cactus-image", daemon=True)
    thread.start()
    try:
        thread.join(SECONDS)
    finally:
        work.end()
    if work.error is not None:
        raise work.error
    if work.data is None:
        raise InvalidImage(f"{work.name} gave no whole image in {SECONDS:g} s")
    return work.data, work.name


class _Fetch:
    def __init__(self, url: str, limits: Limits) -> None:
        self._url, self._limits = url, limits
        self._client: httpx.Client | None = None
        self._ended = False
        self.name = "the address of an image"
        self.data: bytes | None = None
        self.error: InvalidImage | None = None

    def run(self) -> None:
        """Fetch; afterwards there is `data` or `error`."""
        import httpx

        try:
            self.data = self._get(httpx.URL(self._url))
        except InvalidImage as error:
            self.error = error
        except Exception as error:  # whatever it is, somebody waits to hear of it
            self.error = InvalidImage(
                f"{self.name} cannot be fetched: {one_line(str(error)) or type(error).__name__}"
            )

    def end(self) -> None:
        """Close the connection; the thread ends when it is heard of again."""
        self._ended = True
        if self._client is not None:
            with suppress(Exception):  # it may be in use
                self._client.close()

    def _get(self, url: httpx.URL) -> bytes:
        import httpx

        for _ in range(REDIRECTS + 1):
            self.name = named(url)
            check_url(url, self.name)
            addresses = look_up(url, self.name)
            if self._ended:
                break
            # Reading the authorities takes a while; without TLS nobody asks for them.
            trusted = tls_context() if url.scheme == "https" else False
            with httpx.Client(verify=trusted, timeout=_PAUSE, trust_env=False) as self._client:
                found = self._ask(self._client, url, addresses)
            if isinstance(found, bytes):
                return found
            url = found
        raise InvalidImage(f"{self.name} is sent on more than {REDIRECTS} times")

    def _ask(
        self, client: httpx.Client, url: httpx.URL, addresses: list[Address]
    ) -> bytes | httpx.URL:
        """The body, or where the server sends on to."""
        import httpx

        headers = {"Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity"}
        headers |= {"User-Agent": "cactus", "Accept": "image/*"}
        for number, address in enumerate(addresses, 1):
            request = client.build_request(
                "GET",
                url.copy_with(host=str(address)),
                headers=headers,
                extensions={"sni_hostname": url.raw_host.decode("ascii").strip("[]")},
            )
            try:
                response = client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if number == len(addresses) or self._ended:
                    raise
                continue
            try:
                return self._read(response, url)
            finally:
                response.close()
        raise AssertionError("unreachable")

    def _read(self, response: httpx.Response, url: httpx.URL) -> bytes | httpx.URL:
        status, headers = response.status_code, response.headers
        if status in (301, 302, 303, 307, 308) and "location" in headers:
            return url.join(headers["location"])
        if status != 200:
            raise InvalidImage(f"{self.name}: the server answers {status}; expected an image")
        length = headers.get("content-length", "")
        if length.isdecimal():
            self._limits.check_bytes(int(length), self.name)
        parts, size = [], 0
        for part in response.iter_raw():
            if self._ended:
                break
            parts.append(part)
            size += len(part)
            if size > self._limits.file_bytes:
                raise InvalidImage(
                    f"{self.name} has more than {self._limits.file_bytes:,} bytes, and no more are "
                    "taken"
                )
        return b"".join(parts)


def named(url: httpx.URL) -> str:
    """An address for messages: without user, password and query, which may be secrets."""
    shown = f"{url.scheme}://{url.host}{url.path}"
    return f'"{one_line(cut(shown, 200))}"'


def check_url(url: httpx.URL, name: str) -> None:
    """Raises InvalidImage for another protocol, for credentials, and where there is no host."""
    if url.scheme not in ("http", "https"):
        raise InvalidImage(f"{name}: {url.scheme}: addresses are not read; expected http or https")
    if url.userinfo:
        raise InvalidImage(f"{name} has a user or password in it, which is not sent; leave it out")
    if not url.host:
        raise InvalidImage(f"{name} has no host")


def look_up(url: httpx.URL, name: str) -> list[Address]:
    """The addresses of a host, in the system's order. Raises InvalidImage unless all are public."""
    host = url.raw_host.decode("ascii").strip("[]")
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InvalidImage(f"{name}: the host is not known ({reason_of(error)})") from None
    found = list(dict.fromkeys(ipaddress.ip_address(row[4][0]) for row in rows))
    if not found or not all(map(is_public, found)):
        raise InvalidImage(
            f"{name} leads to this machine or a private network, from which no image is fetched; "
            "give its path or bytes"
        )
    return found


def is_public(address: Address) -> bool:
    """Whether an address is one of the public network, also where it stands in another one."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address.teredo is not None:
            inner = address.teredo[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    special = address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not special
