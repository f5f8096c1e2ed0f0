"""Keys: who is let in, and which requests are of the same one."""

from __future__ import annotations

import os
import secrets
import stat
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from hmac import compare_digest
from pathlib import Path

from cactus.errors import InvalidRequest

VARIABLE = "CACTUS_API_KEYS"
ADMIN_VARIABLE = "CACTUS_ADMIN_KEYS"
IN_PROTOCOL = "cactus-key."
"""Before the base64url of a key, as a protocol that a WebSocket asks for: browsers can send no
header with one."""
IN_PROTOCOL_PLAIN = "openai-insecure-api-key."
ADMIN = "admin"
"""The tenant of whoever may read this server's state file."""


class Keys:
    """Known keys, of which only digests are kept, and the token of the state file.

    `admins` are those of the keys that whoever looks after the server has.
    A key is compared with all of them, each in the time that it takes whatever it is.
    """

    def __init__(
        self, keys: Iterable[str], token: str | None = None, admins: Iterable[str] = ()
    ) -> None:
        self._secret = secrets.token_bytes(32)
        self._known = [self._digest(key) for key in keys]
        self._admins = {ADMIN, *(_name(self._digest(key)) for key in admins)}
        self._token = None if token is None else self._digest(token)

    def __bool__(self) -> bool:
        return bool(self._known)

    def tenant(self, given: Iterable[str]) -> str | None:
        """A name for the key that is known among those that were given, the same each time.

        It says nothing of the key, and is another one after a restart. None where none is known.
        """
        found = None
        for key in given:
            digest = self._digest(key)
            for known in self._known:
                if compare_digest(digest, known):
                    found = _name(known)
            if self._token is not None and compare_digest(digest, self._token):
                found = found or ADMIN
        return found

    def is_admin(self, tenant: str | None) -> bool:
        """Whether the tenant of a known key looks after the server."""
        return tenant in self._admins

    def _digest(self, key: str) -> bytes:
        return blake2b(key.encode("utf-8", "surrogateescape"), key=self._secret).digest()


def _name(digest: bytes) -> str:
    return digest[:8].hex()


def given_keys(headers: Mapping[str, str], protocols: Sequence[str] = ()) -> Iterator[str]:
    """The keys that a request shows."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        yield key.strip()
    if headers.get("x-api-key", "").strip():
        yield headers["x-api-key"].strip()
    for protocol in protocols:
        if protocol.startswith(IN_PROTOCOL):
            packed = protocol.removeprefix(IN_PROTOCOL)
            try:
                yield urlsafe_b64decode(packed + "=" * (-len(packed) % 4)).decode()
            except (Base64Error, ValueError):
                continue
        elif protocol.startswith(IN_PROTOCOL_PLAIN):
            yield protocol.removeprefix(IN_PROTOCOL_PLAIN)


def is_key_protocol(protocol: str) -> bool:
    """Whether what a WebSocket asks for is not a protocol but a key."""
    return protocol.startswith((IN_PROTOCOL, IN_PROTOCOL_PLAIN))


def read_keys(
    file: Path | None, options: Sequence[str] = (), variable: str = VARIABLE
) -> tuple[str, ...]:
    """All keys: of a file (one a line, # begins a comment), the environment and the options.

    Raises InvalidRequest for what cannot be one, without showing it, and OSError.
    """
    found: list[tuple[str, str]] = [(f"key {n} of --api-key", k) for n, k in enumerate(options, 1)]
    for n, key in enumerate(os.environ.get(variable, "").replace(",", " ").split(), 1):
        found.append((f"key {n} of {variable}", key))
    if file is not None:
        for n, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            key = line.strip()
            if key and not key.startswith("#"):
                found.append((f"line {n} of {file}", key))
        if not found:
            raise InvalidRequest(f"{file} has no key; each stands on a line of its own")
    for where, key in found:
        if not key.isascii() or not key.isprintable() or " " in key:
            raise InvalidRequest(f"{where}: a key is of visible ASCII characters, without spaces")
        if len(key) < MIN_LENGTH:
            raise InvalidRequest(
                f"{where} has {len(key)} characters, and a key at least {MIN_LENGTH}"
            )
    return tuple(dict.fromkeys(key for _, key in found))


MIN_LENGTH = 8


def is_readable_by_others(file: Path) -> bool:
    """Whether other users of this machine may read a file."""
    return os.name == "posix" and bool(file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
