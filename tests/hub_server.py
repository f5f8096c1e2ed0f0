"""A server on this machine that speaks the hub's protocol, and misbehaves on request.

`huggingface_hub` itself works with it: the tests of this file's users prove that.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


def git_oid(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


@dataclass
class Repo:
    """Branches and tags lead to commits, commits to files."""

    revisions: dict[str, str]
    commits: dict[str, dict[str, bytes]]
    token: str | None = None
    gguf: str | None = None
    """The architecture that the hub read in a .gguf file."""
    gated: bool = False
    """Everybody may see what it holds, and only those with `token` get it."""


@dataclass
class HubServer:
    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    busy: list[int] = field(default_factory=list)
    """Status codes that answer the next requests to the API."""
    cuts: list[int] = field(default_factory=list)
    """Bytes after which the next answers with weights break off."""
    unknown_token: str = ""
    served: dict[str, bytes] = field(default_factory=dict)
    """What is sent in place of a file, by its name."""
    gate: threading.Event = field(default_factory=threading.Event)
    """While it is not set, weights are sent up to `gate_at` bytes."""
    gate_at: int | None = None

    def add(self, hub_id: str, files: dict[str, bytes], commit: str = "a" * 40, **more) -> Repo:
        self.repos[hub_id] = Repo({"main": commit}, {commit: files}, **more)
        return self.repos[hub_id]

    def fetched(self) -> list[str]:
        """The names of the files that were asked for, in order; each range counts."""
        resolved = [
            path for verb, path, _ in self.requests if "/resolve/" in path and verb == "GET"
        ]
        return [path.rpartition("/")[2] for path in resolved]

    def ranges(self) -> list[str]:
        """The ranges of weights that were asked for."""
        return [
            headers["range"]
            for _, path, headers in self.requests
            if path.startswith("/cdn/") and "range" in headers
        ]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, headers))
        with suppress(ConnectionError):  # the client has heard enough
            if path.startswith("/api/models/"):
                self.api(path.removeprefix("/api/models/"), headers)
            elif path.startswith("/cdn/"):
                self.cdn(*path.removeprefix("/cdn/").split("/", 3))
            else:
                self.resolve(path, headers)

    do_HEAD = do_GET

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content_length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def fail(self, status: int, code: str = "") -> None:
        self.answer(status, b'{"error": "no"}', **({"X_Error_Code": code} if code else {}))

    def allowed(self, repo: Repo, headers: dict[str, str]) -> bool:
        return repo.token is None or headers.get("authorization") == f"Bearer {repo.token}"

    def api(self, path: str, headers: dict[str, str]) -> None:
        if self.hub.busy:
            return self.answer(self.hub.busy.pop(0), retry_after="1")
        if headers.get("authorization") == f"Bearer {self.hub.unknown_token}":
            return self.answer(401, X_Error_Message="Invalid credentials in Authorization header")
        hub_id = "/".join(path.split("/")[:2])
        verb, _, revision = path.removeprefix(hub_id).strip("/").partition("/")
        repo = self.hub.repos.get(hub_id)
        if repo is None:
            return self.fail(401 if "authorization" not in headers else 404, "RepoNotFound")
        if not repo.gated and not self.allowed(repo, headers):
            return self.fail(401)
        if verb == "refs":
            branches = [
                {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
                for name, commit in repo.revisions.items()
            ]
            body = {"branches": branches, "tags": [], "converts": []}
            return self.answer(200, json.dumps(body).encode(), content_type="application/json")
        commit = self.commit(repo, revision or "main")
        if commit is None:
            return self.fail(404, "RevisionNotFound")
        siblings = []
        for name, body in repo.commits[commit].items():
            siblings.append({"rfilename": name, "size": len(body), "blobId": git_oid(body)})
            if is_lfs(name):
                digest = hashlib.sha256(body).hexdigest()
                siblings[-1]["lfs"] = {"sha256": digest, "size": len(body), "pointerSize": 134}
        body = {"id": hub_id, "sha": commit, "siblings": siblings, "gated": repo.gated}
        if repo.gguf:
            body["gguf"] = {"architecture": repo.gguf, "total": 1}
        self.answer(200, json.dumps(body).encode(), content_type="application/json")

    def commit(self, repo: Repo, revision: str) -> str | None:
        commit = repo.revisions.get(revision, revision)
        return commit if commit in repo.commits else None

    def resolve(self, path: str, headers: dict[str, str]) -> None:
        hub_id, _, rest = path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        repo = self.hub.repos[hub_id]
        if not self.allowed(repo, headers):
            return self.fail(403 if "authorization" in headers else 401, "GatedRepo")
        commit = self.commit(repo, revision)
        body = repo.commits[commit].get(name) if commit else None
        if body is None:
            return self.fail(404, "EntryNotFound")
        about = {"X_Repo_Commit": str(commit)}
        if not is_lfs(name):
            about["ETag"] = f'"{git_oid(body)}"'
            return self.answer(200, self.hub.served.get(name, body), **about)
        digest = hashlib.sha256(body).hexdigest()
        about |= {"X_Linked_Etag": f'"{digest}"', "X_Linked_Size": str(len(body))}
        # Another host, which must not see the token.
        elsewhere = self.hub.url.replace("127.0.0.1", "localhost")
        self.answer(302, location=f"{elsewhere}/cdn/{hub_id}/{commit}/{name}", **about)

    def cdn(self, owner: str, model: str, commit: str, name: str) -> None:
        body = self.hub.repos[f"{owner}/{model}"].commits[commit][name]
        body = self.hub.served.get(name, body)
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("ETag", f'"{hashlib.md5(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.hub.cuts:
            self.wfile.write(body[start : max(start, self.hub.cuts.pop(0))])
            self.wfile.flush()
            self.connection.shutdown(2)
            self.close_connection = True
            return
        if self.hub.gate_at is not None and not self.hub.gate.is_set():
            self.wfile.write(body[start : self.hub.gate_at])
            self.wfile.flush()
            self.hub.gate.wait(60)
            start = max(start, self.hub.gate_at)
        self.wfile.write(body[start:])

    def log_message(self, *_: object) -> None:
        pass


def is_lfs(name: str) -> bool:
    return name.endswith((".safetensors", ".gguf", ".bin"))


@contextmanager
def serve() -> Iterator[HubServer]:
    """A hub on 127.0.0.1 that is gone afterwards."""
    hub = HubServer()
    handler = type("HubHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
