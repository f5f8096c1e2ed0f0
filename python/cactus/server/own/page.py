"""The page at ``/``: built files that lie in the package, each known before it is asked for."""

from __future__ import annotations

import gzip
from functools import cached_property
from hashlib import sha256
from mimetypes import guess_type
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

FOLDER = Path(__file__).parents[1] / "page"
HASHED = "assets/"
"""Below it, names change with what is in the files."""
POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(self)",
}
KINDS = {".js": "text/javascript", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
"""What some systems call otherwise, or not at all."""
PACKED = ("text/", "image/svg")
SENTENCE = (
    "Cactus is running. Its page is not part of this installation; "
    "programs find the API at /v1, described at /openapi.json.\n"
)


class File:
    """One file, read when it is first asked for."""

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._lasting = name.startswith(HASHED)
        kind = KINDS.get(path.suffix) or guess_type(path.name)[0] or "application/octet-stream"
        self._packs = kind.startswith(PACKED)
        self._kind = f"{kind}; charset=utf-8" if kind.startswith("text/") else kind

    @cached_property
    def _plain(self) -> bytes:
        return self._path.read_bytes()

    @cached_property
    def _packed(self) -> bytes:
        return gzip.compress(self._plain, mtime=0)

    @cached_property
    def _tag(self) -> str:
        return sha256(self._plain).hexdigest()[:20]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        gzipped = self._packs and "gzip" in request.headers.get("accept-encoding", "")
        tag = f'"{self._tag}{"-gz" if gzipped else ""}"'
        cache = "public, max-age=31536000, immutable" if self._lasting else "no-cache"
        headers = HEADERS | {"cache-control": cache, "etag": tag, "vary": "Accept-Encoding"}
        if tag in request.headers.get("if-none-match", ""):
            await Response(status_code=304, headers=headers)(scope, receive, send)
            return
        if gzipped:
            headers["content-encoding"] = "gzip"
        body = self._packed if gzipped else self._plain
        await Response(body, headers=headers, media_type=self._kind)(scope, receive, send)


async def _no_page(scope: Scope, receive: Receive, send: Send) -> None:
    await Response(SENTENCE, media_type="text/plain")(scope, receive, send)


def page(folder: Path = FOLDER) -> dict[str, ASGIApp]:
    """What answers which path. A path is looked up here and never on the disk."""
    names = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files: dict[str, ASGIApp] = {}
    for path in names:
        name = path.relative_to(folder).as_posix()
        files[f"/{name}"] = File(path, name)
    files["/"] = files.get("/index.html", _no_page)
    return files
