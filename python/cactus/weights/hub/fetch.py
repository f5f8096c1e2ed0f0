"""One file over HTTP, surely: resumed after any interruption, complete and verified or not there.

``<name>.part`` holds what has arrived and ``<name>.part.json`` the ETag it came with; the final
name appears by one rename, after size and SHA-256 were right. A lock lets one process download
while others wait. Credentials go to the host they were given for and to no other.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import random
import re
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import unquote, urldefrag, urlsplit

from cactus.errors import CactusError, DownloadError
from cactus.inputs import tls
from cactus.inputs.files import read_json
from cactus.inputs.text import reason_of
from cactus.progress import Progress

if TYPE_CHECKING:
    import httpx

TRIES = 6
MAX_REDIRECTS = 8
MAX_WAIT = 60.0  # seconds; a server that asks for more is asked again after this
_CHUNK = 1 << 20
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})

log = logging.getLogger("cactus.download")


class OfflineError(DownloadError):
    """There is no way to the host: no name service or no network."""


class AccessError(DownloadError):
    """The server knows the file and does not give it to this account; `status` is 401 or 403."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _TryAgainError(Exception):
    """This attempt failed in a way that another one may not; `wait` is in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass
class Fetch:
    """What to fetch, where to, and what it must be.

    `size` (bytes) and `sha256` (hex) are checked when given; without `sha256`, so is `git_oid`, the
    SHA-1 that git gives a file of `size` bytes. `headers` (a token, say) are sent to the host of
    `url` only. `certificates` is a file of authorities to trust beside the system's. `title` is
    what the user calls the file (default: the name of `target`), `lock` the file that others who
    fetch it lock, too (default: one beside it).
    """

    url: str
    target: Path
    size: int | None = None
    sha256: str | None = None
    git_oid: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    certificates: str | None = None
    progress: Progress | None = None
    title: str = ""
    lock: Path | None = None
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self.title = self.title or self.target.name

    def run(self) -> Path:
        """Fetches the file and returns its path; one that is already there is kept.

        Raises `DownloadError`: what has arrived stays for the next try, unless it was wrong.
        """
        from filelock import FileLock

        self.target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.lock or self.target.with_name(self.target.name + ".lock")):
            if not self.target.is_file():
                if urlsplit(self.url).scheme == "file":
                    self._copy()
                else:
                    self._download()
        return self.target

    @property
    def label(self) -> str:
        return f"downloading {self.title}"

    @property
    def _part(self) -> Path:
        return self.target.with_name(self.target.name + ".part")

    @property
    def _state(self) -> Path:
        return self.target.with_name(self.target.name + ".part.json")

    def _download(self) -> None:
        import httpx

        timeout = httpx.Timeout(30.0, connect=15.0)
        with httpx.Client(timeout=timeout, verify=tls_context(self.certificates)) as client:
            tries, most = 0, 0
            while True:
                try:
                    self._attempt(client)
                    return
                except _TryAgainError as failure:
                    arrived = self._part.stat().st_size if self._part.exists() else 0
                    # A line that breaks often but brings something each time gets there.
                    brought = arrived > most
                    tries = 1 if brought else tries + 1
                    most = max(most, arrived)
                    if tries == TRIES:
                        raise DownloadError(
                            f"{self.title}: given up after {TRIES} tries: {failure}; "
                            f"what has arrived is kept, the same command continues from there"
                        ) from failure
                    wait = wait_before(tries, failure.wait or (0.05 if brought else None))
                    log.info("%s: %s; again in %.1f s", self.title, failure, wait)
                    self.sleep(wait)

    def _attempt(self, client: httpx.Client) -> None:
        import httpx

        digest, have = self._resume_point()
        etag = self._saved_etag()
        if have and have == self.size:
            self._finish(digest, have, resumed=True)
            return
        check_space(self.target.parent, (self.size or have) - have, self.title)
        asked = {"Accept-Encoding": "identity"}
        if have:
            asked["Range"] = f"bytes={have}-"
            if etag and not etag.startswith("W/"):
                asked["If-Range"] = etag
        try:
            response = self._open(client, asked)
            try:
                resumed = self._check(response, have, etag)
                if not resumed:
                    digest, have = self._new_digest(), 0
                have = self._receive(response, digest, have)
            finally:
                response.close()
        except httpx.InvalidURL as error:
            raise DownloadError(f"{self.title}: a redirect to no URL: {error}") from error
        except httpx.RequestError as error:
            raise self._classify(error) from error
        self._finish(digest, have, resumed)

    def _open(self, client: httpx.Client, asked: dict[str, str]) -> httpx.Response:
        """The answer after redirects, each one checked, its body not yet read."""
        import httpx

        url = httpx.URL(urldefrag(self.url).url)
        home = _origin(url)
        for _ in range(MAX_REDIRECTS + 1):
            if url.scheme not in ("http", "https"):
                raise DownloadError(f"{self.title}: refusing a redirect to {url.scheme}://")
            private = self.headers if _origin(url) == home else {}
            request = client.build_request("GET", url, headers={**private, **asked})
            response = client.send(request, stream=True)
            if not response.has_redirect_location:
                return response
            response.close()
            following = url.join(response.headers["location"])
            if url.scheme == "https" and following.scheme == "http":
                raise DownloadError(f"{self.title}: refusing a redirect from https to http")
            url = following
        raise DownloadError(f"{self.title}: more than {MAX_REDIRECTS} redirects in a row")

    def _check(self, response: httpx.Response, have: int, etag: str | None) -> bool:
        """Whether the body continues what is there; raises where it is not the file at all."""
        status, host = response.status_code, response.url.host
        if status == 416 or (status == 206 and not self._continues(response, have, etag)):
            self._discard()
            raise _TryAgainError("the server has another file now, starting over", 0.05)
        if status in _BUSY:
            raise _TryAgainError(f"{host} answered {status}", retry_after(response.headers))
        if status in (401, 403):
            raise AccessError(
                f"{self.title}: {host} refused access ({status}); "
                "a private or gated model needs --token or HF_TOKEN",
                status,
            )
        if status not in (200, 206):
            raise DownloadError(f"{self.title}: {host} answered {status}")
        if response.headers.get("content-type", "").lower().startswith("text/html"):
            raise DownloadError(
                f"{self.title}: {host} sent a web page in place of the file; "
                "a proxy or a login page may stand between"
            )
        length = _whole_length(response)
        if length is not None and self.size is not None and length != self.size:
            raise DownloadError(
                f"{self.title}: {host} offers {length:,} bytes, expected {self.size:,}"
            )
        return status == 206

    def _continues(self, response: httpx.Response, have: int, etag: str | None) -> bool:
        if _is_encoded(response):  # a range of the compressed form cannot be appended
            return False
        start = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
        now = response.headers.get("etag")
        return start is not None and int(start[1]) == have and (not etag or now in (None, etag))

    def _receive(self, response: httpx.Response, digest: hashlib._Hash, have: int) -> int:
        """Appends the body (or writes it anew when `have` is 0); the bytes there are then."""
        total = self.size or _whole_length(response) or 0
        check_space(self.target.parent, total - have, self.title)
        try:
            if not have:
                self._save_etag(response.headers.get("etag"))
            with self._part.open("ab" if have else "wb") as file:
                for chunk in response.iter_bytes():  # as it comes: nothing waits in memory
                    have += len(chunk)
                    if total and have > total:
                        file.close()
                        self._discard()
                        raise DownloadError(
                            f"{self.title}: {response.url.host} sent more than the "
                            f"{total:,} bytes there should be"
                        )
                    file.write(chunk)
                    digest.update(chunk)
                    self._report(have, total)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._write_failed(error, total - have) from error
        if total and have < total:
            raise _TryAgainError(f"the connection ended after {have:,} of {total:,} bytes", 0.05)
        return have

    def _finish(self, digest: hashlib._Hash, have: int, resumed: bool) -> None:
        if self.size is not None and have != self.size:
            self._discard()
            raise DownloadError(f"{self.title}: {have:,} bytes arrived, expected {self.size:,}")
        expected = self.sha256 or self.git_oid
        if expected is not None and digest.hexdigest() != expected:
            self._discard()
            kind = "SHA-256" if self.sha256 else "git's SHA-1"
            if resumed:  # the first half may be of another file: one try from the beginning
                raise _TryAgainError(f"the joined parts have the wrong {kind}", 0.05)
            raise DownloadError(
                f"{self.title}: damaged or replaced on the way: {kind} is "
                f"{digest.hexdigest()}, expected {expected}"
            )
        os.replace(self._part, self.target)
        self._state.unlink(missing_ok=True)

    def _copy(self) -> None:
        """A ``file://`` URL: the package index is a folder of this machine."""
        parts = urlsplit(urldefrag(self.url).url)
        source = Path(unquote(parts.path))
        if parts.netloc not in ("", "localhost"):
            raise DownloadError(f"{self.title}: {self.url} is on another machine")
        digest, have = self._new_digest(), 0
        try:
            total = source.stat().st_size
            check_space(self.target.parent, total, self.title)
            with source.open("rb") as reader, self._part.open("wb") as writer:
                for chunk in _chunks(reader):
                    writer.write(chunk)
                    digest.update(chunk)
                    have += len(chunk)
                    self._report(have, total)
        except OSError as error:
            raise DownloadError(f"{self.title}: {reason_of(error)}") from error
        self._finish(digest, have, resumed=False)

    def _resume_point(self) -> tuple[hashlib._Hash, int]:
        """The digest and length of what is there; nothing where it could not be proved right."""
        digest, have = self._new_digest(), 0
        if not self._part.is_file():
            self._discard()  # whatever has its name is not what we wrote
            return digest, 0
        provable = (self.sha256 or self.git_oid or self._saved_etag()) is not None
        if not provable or self._part.stat().st_size > (self.size or float("inf")):
            self._discard()
            return digest, 0
        with self._part.open("rb") as file:
            for chunk in _chunks(file):
                digest.update(chunk)
                have += len(chunk)
        return digest, have

    def _new_digest(self) -> hashlib._Hash:
        if self.sha256 is None and self.git_oid is not None:
            if self.size is None:
                raise ValueError(f"{self.title}: git_oid without size, which it is computed from")
            return hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        return hashlib.sha256()

    def _saved_etag(self) -> str | None:
        try:
            etag = read_json(self._state).get("etag")
        except CactusError:
            return None
        return etag if isinstance(etag, str) else None

    def _save_etag(self, etag: str | None) -> None:
        self._state.write_text(json.dumps({"etag": etag}), "utf-8")

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)

    def _report(self, have: int, total: int) -> None:
        if self.progress is not None:
            self.progress(self.label, have, total)

    def _write_failed(self, error: OSError, missing: int) -> DownloadError:
        part = self._part
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(part.parent).free
            return DownloadError(
                f'{self.title}: the disk of "{part.parent}" is full: {missing / 1e6:,.1f} MB are '
                f"still needed, {free / 1e6:,.1f} MB are free; what has arrived is kept and "
                "continued next time"
            )
        return DownloadError(f'{self.title}: cannot write "{part}": {reason_of(error)}')

    def _classify(self, error: httpx.RequestError) -> Exception:
        host = urlsplit(self.url).hostname or "the server"
        for cause in _causes(error):
            if isinstance(cause, ssl.SSLCertVerificationError):
                return DownloadError(
                    f"{self.title}: the certificate of {host} is not trusted: "
                    f"{cause.verify_message}; SSL_CERT_FILE can name your authorities"
                )
            no_name = isinstance(cause, socket.gaierror)
            if isinstance(cause, OSError) and (no_name or cause.errno == errno.ENETUNREACH):
                return OfflineError(
                    f"{self.title}: no way to {host} ({reason_of(cause)}): this machine seems "
                    "to be offline; models that are here already work, see cactus list"
                )
        return _TryAgainError(f"{host}: {reason_of(error)}")


def wait_before(tries: int, asked: float | None) -> float:
    """Seconds to wait after so many tries; `asked` is what the server asked for."""
    # Spread out, so that many clients do not come back in the same moment.
    return min(asked or 2.0 ** (tries - 1), MAX_WAIT) * random.uniform(1.0, 1.25)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a busy server asks to wait, or None."""
    value = headers.get("retry-after", "")
    return float(value) if value.isdecimal() else None


def check_space(folder: Path, need: int, what: str) -> None:
    """Raises `DownloadError` where fewer than `need` bytes are free in `folder`."""
    free = shutil.disk_usage(folder).free
    if need > free:
        raise DownloadError(
            f'{what}: {need / 1e6:,.0f} MB are needed in "{folder}" and {free / 1e6:,.0f} MB are '
            "free; make room, or name a folder on another disk: CACTUS_WEIGHTS for models, HF_HOME "
            "for what comes from the hub"
        )


def tls_context(certificates: str | None = None) -> ssl.SSLContext:
    """`inputs.tls.tls_context`. Raises DownloadError."""
    try:
        return tls.tls_context(certificates)
    except OSError as error:
        message = f'cannot read certificates from "{certificates}": {reason_of(error)}'
        raise DownloadError(message) from error


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _is_encoded(response: httpx.Response) -> bool:
    return bool(response.headers.get("content-encoding", "identity") != "identity")


def _whole_length(response: httpx.Response) -> int | None:
    """The length of the whole file as the server states it; None for an encoded body."""
    if _is_encoded(response):
        return None
    if response.status_code == 206:
        total = response.headers.get("content-range", "").rpartition("/")[2]
    else:
        total = response.headers.get("content-length", "")
    return int(total) if total.isdecimal() else None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
