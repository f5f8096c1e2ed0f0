"""Names by which the server may be called, and web pages that may call it.

A web page can have a browser send requests here: under a name that it lets point to this machine
(DNS rebinding), or from wherever it is. Neither gets an answer.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost")
ANY = "*"


def split_host(text: str) -> str:
    """The name in a Host header or an address's authority, in lower case and without a port."""
    text = text.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


def is_loopback(name: str) -> bool:
    """Whether a name or address can only mean this machine."""
    if name in LOCAL_NAMES or name.endswith(".localhost"):
        return True
    with suppress(ValueError):
        return ip_address(name).is_loopback
    return False


class Hosts:
    """The names that may stand in Host.

    Addresses may always: only a name can be made to point elsewhere by whoever owns it.
    """

    def __init__(self, host: str, allowed: Sequence[str]) -> None:
        self._any = ANY in allowed
        self._names = {*LOCAL_NAMES, split_host(host), socket.gethostname().lower()}
        self._names |= {split_host(name) for name in allowed}

    def allows(self, header: str | None) -> bool:
        """Whether a request with this header is answered; without one it is not a browser's."""
        if header is None or self._any:
            return True
        name = split_host(header)
        if name in self._names or name.endswith(".localhost"):
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


class Origins:
    """The web pages that may call: the server's own, those of this machine, and those allowed."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self.any = ANY in allowed
        self._allowed = {origin.strip().lower().rstrip("/") for origin in allowed}

    def allows(self, origin: str, host: str | None) -> bool:
        """Whether a page of `origin` may call a server that it calls `host`."""
        origin = origin.strip().lower()
        if self.any or origin in self._allowed:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.scheme not in ("http", "https") or not parts.netloc:
            return False
        if host is not None and parts.netloc == host.strip().lower():
            return True
        return is_loopback(split_host(parts.netloc.rpartition("@")[2]))
