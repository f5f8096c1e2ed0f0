"""Where the server listens: sockets that are opened before anything else, with errors that help."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import stat
from contextlib import suppress
from pathlib import Path

from cactus.errors import CactusError, InvalidRequest
from cactus.inputs.text import reason_of
from cactus.server.guard.origins import is_loopback
from cactus.server.settings import Settings

BACKLOG = 512
_MISSING = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class CannotListen(CactusError):
    """The server cannot listen where it was told to; the message says what to do."""


def check(settings: Settings) -> None:
    """Raises InvalidRequest for settings that would let in anybody, and for files of TLS."""
    tls_context(settings)
    if settings.uds is not None or settings.keys or settings.insecure:
        return
    if not all(is_loopback(address) for address in addresses(settings)):
        raise InvalidRequest(
            f"at {settings.host} others can reach this server, and there is no key; name a file of "
            "keys with --api-key-file, listen at 127.0.0.1, or let everybody in with --insecure"
        )


def addresses(settings: Settings) -> list[str]:
    """The addresses that the host stands for. Raises CannotListen."""
    return list(dict.fromkeys(str(each[4][0]) for each in _resolved(settings)))


def open_sockets(settings: Settings) -> list[socket.socket]:
    """The sockets, listening. Raises CannotListen saying why not, and what would."""
    if settings.uds is not None:
        return [_unix(settings.uds)]
    opened: list[socket.socket] = []
    port = settings.port
    failure: OSError | None = None
    for family, kind, protocol, _, address in _resolved(settings):
        made = socket.socket(family, kind, protocol)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # "::" is every address of this machine, as people who write it expect.
                only = int(address[0] != "::")
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
            made.bind((address[0], port, *address[2:]))
            made.listen(BACKLOG)
        except OSError as error:
            made.close()
            failure = error
            if error.errno in _MISSING:  # "localhost" is two addresses, of which one may do
                continue
            break
        opened.append(made)
        port = made.getsockname()[1]  # where the system chose it, the same for all
    else:
        if opened:
            return opened
    for each in opened:
        each.close()
    assert failure is not None
    raise CannotListen(_why(failure, settings, port))


def _resolved(settings: Settings) -> list[tuple[int, int, int, str, tuple[str, ...]]]:
    try:
        found = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (OSError, UnicodeError) as error:
        raise CannotListen(
            f"--host {settings.host}: nobody knows this name ({reason_of(error)}); it is an "
            "address of this machine, 127.0.0.1 for this machine alone, 0.0.0.0 for all"
        ) from None
    return list(dict.fromkeys(found))  # type: ignore[arg-type]


def _why(error: OSError, settings: Settings, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} is in use at {settings.host}; 'cactus ps' shows whether by a server of "
            f"yours, --port {port + 1 if port < 65535 else 8080} takes another, --port 0 any"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"port {port} is for programs with privileges; take one from 1024 on (--port 8080), "
            "and let a reverse proxy listen below"
        )
    if error.errno in _MISSING:
        kind = "IPv6 is switched off here, or " if ":" in settings.host else ""
        return (
            f"{kind}{settings.host} is not an address of this machine; take 127.0.0.1, "
            "or 0.0.0.0 for all of its addresses"
        )
    return f"cannot listen at {settings.host}, port {port}: {reason_of(error)}"


def _unix(path: Path) -> socket.socket:
    """A Unix socket for this user; one that a dead server has left is taken away."""
    if not hasattr(socket, "AF_UNIX"):
        raise CannotListen("--uds: this system has no Unix sockets; take --port")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(path.lstat().st_mode):
                raise CannotListen(f"--uds {path}: there is a file of this name already")
            if _answers(path):
                raise CannotListen(f"--uds {path}: a server listens there; take another path")
            path.unlink()
        before = os.umask(0o177)
        try:
            made.bind(str(path))
        finally:
            os.umask(before)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise CannotListen(f"--uds {path}: {reason_of(error)}") from None
    except CannotListen:
        made.close()
        raise
    return made


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(2)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # it is too busy to say so
    return True


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """What TLS is made with; None without it. Raises InvalidRequest naming the file."""
    if settings.tls_cert is None:
        if settings.tls_key is not None:
            raise InvalidRequest("--tls-key needs --tls-cert, the certificate that it belongs to")
        return None
    for option, path in (("--tls-cert", settings.tls_cert), ("--tls-key", settings.tls_key)):
        if path is not None and not path.is_file():
            raise InvalidRequest(f"{option} {path}: there is no such file")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=lambda: b"")
    except ssl.SSLError as error:
        raise InvalidRequest(
            f"--tls-cert {settings.tls_cert}: this is not a certificate in PEM with its key "
            f"({error.reason or error}); a key in a file of its own is named with --tls-key, "
            "and has no password"
        ) from None
    return context


def address_of(settings: Settings, port: int) -> str:
    """The address under which a client of this machine finds it."""
    if settings.uds is not None:
        return f"unix:{settings.uds}"
    scheme = "http" if settings.tls_cert is None else "https"
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(settings.host)
    host = host or (f"[{settings.host}]" if ":" in settings.host else settings.host)
    return f"{scheme}://{host}:{port}"
