"""Which servers run: a file for each in a folder of the user's, so that commands find them.

It holds a token that this server takes like a key: whoever can read the file may ask it to end.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from cactus.errors import CactusError
from cactus.inputs.partial import is_running
from cactus.inputs.text import reason_of
from cactus.weights.locate import cache_root

PATIENCE = 10.0


class NotReached(CactusError):
    """A server that should run does not answer."""


@dataclass(frozen=True)
class Known:
    """A server. `url` is its address, "unix:PATH" for a Unix socket; `cert` its certificate."""

    pid: int
    url: str
    token: str
    cert: str | None = None

    @property
    def name(self) -> str:
        """What people call it."""
        return self.url.removeprefix("unix:")


FIELDS = tuple(field.name for field in fields(Known))


def folder() -> Path:
    """Where the files lie."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    root = Path(runtime) / "cactus" if runtime and _is_own(Path(runtime)) else cache_root()
    return root / "servers"


def _is_own(path: Path) -> bool:
    try:
        return path.is_dir() and path.stat().st_uid == os.getuid()
    except (OSError, AttributeError):  # Windows has no such numbers
        return False


def write(known: Known) -> Path:
    """Say that this server runs; the file is to be removed when it has ended. Raises OSError."""
    home = folder()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = home / f"{known.pid}.json"
    with suppress(FileNotFoundError):
        path.unlink()  # of a process that had this number before
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(asdict(known), file)
    return path


def servers() -> list[Known]:
    """Those that run, by their number; files of processes that are gone are removed."""
    found = []
    for path in sorted(folder().glob("*.json")):
        try:
            said = json.loads(path.read_text("utf-8"))
            # A server of another version may say more of itself.
            known = Known(**{name: said[name] for name in FIELDS if name in said})
        except (OSError, ValueError, TypeError):  # it is being written, or is not ours
            continue
        if is_running(known.pid):
            found.append(known)
        else:
            with suppress(OSError):
                path.unlink()
    return sorted(found, key=lambda each: each.pid)


def call(known: Known, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Ask a server. Raises NotReached, and CactusError with what it says."""
    import httpx

    options: dict[str, Any] = {}
    base = known.url
    if base.startswith("unix:"):
        options["transport"] = httpx.HTTPTransport(uds=base.removeprefix("unix:"))
        base = "http://localhost"
    elif known.cert is not None:
        # It may be for another name; it has to be the very one.
        context = ssl.create_default_context(cafile=known.cert)
        context.check_hostname = False
        options["verify"] = context
    try:
        with httpx.Client(base_url=base, timeout=PATIENCE, trust_env=False, **options) as client:
            reply = client.request(
                method, path, json=body, headers={"Authorization": f"Bearer {known.token}"}
            )
    except (httpx.HTTPError, OSError) as error:
        raise NotReached(
            f"the server at {known.name} does not answer: {reason_of(error)}"
        ) from None
    try:
        found = reply.json()
    except ValueError:
        raise NotReached(f"what listens at {known.name} is another program") from None
    if reply.status_code != 200:
        told = found.get("error") if isinstance(found, dict) else None
        message = told.get("message") if isinstance(told, dict) else None
        raise CactusError(f"the server at {known.name}: {message or reply.status_code}")
    return found
