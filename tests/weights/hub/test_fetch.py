"""Fetching one file from servers that misbehave."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import namedtuple
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from cactus.errors import DownloadError
from cactus.weights.hub import fetch
from cactus.weights.hub.fetch import Fetch, OfflineError

BODY = bytes(range(256)) * 3000
SHA256 = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "model.bin"


def get(site, target: Path, path: str = "/file", **options) -> Path:
    """Fetches BODY, without real waiting."""
    options = {"size": len(BODY), "sha256": SHA256, "sleep": lambda _: None} | options
    return Fetch(site.url + path, target, **options).run()


def part_of(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def leave_part(target: Path, data: bytes, etag: str | None = None) -> None:
    part_of(target).write_bytes(data)
    state = target.with_name(target.name + ".part.json")
    state.write_text(json.dumps({"etag": etag}))


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"content_length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def test_a_file_arrives_whole_with_progress(site, target: Path) -> None:
    site.routes["/file"] = BODY
    seen: list[tuple[str, int, int]] = []
    assert get(site, target, progress=lambda *step: seen.append(step)) == target
    assert target.read_bytes() == BODY
    assert seen[-1] == ("downloading model.bin", len(BODY), len(BODY))
    assert not part_of(target).exists()


def test_a_file_that_is_there_is_not_asked_for_again(site, target: Path) -> None:
    target.write_bytes(BODY)
    get(site, target)
    assert site.requests == []


@pytest.mark.fault("F66")
def test_an_interrupted_download_continues_where_it_stopped(site, target: Path) -> None:
    site.routes["/file"] = BODY
    leave_part(target, BODY[:1000])
    get(site, target)
    assert target.read_bytes() == BODY
    assert site.headers_of(0)["range"] == "bytes=1000-"


def test_a_complete_part_needs_no_request(site, target: Path) -> None:
    leave_part(target, BODY)
    get(site, target)
    assert target.read_bytes() == BODY and site.requests == []


@pytest.mark.fault("F67")
def test_a_server_that_ignores_range_starts_over(site, target: Path) -> None:
    site.routes["/file"] = lambda handler: reply(handler, 200, BODY)
    leave_part(target, BODY[:1000])
    get(site, target)
    assert target.read_bytes() == BODY
    assert "range" in site.headers_of(0)


@pytest.mark.fault("F67")
def test_a_changed_etag_starts_over(site, target: Path) -> None:
    site.routes["/file"] = BODY
    leave_part(target, b"of an older version", etag='"old"')
    get(site, target)
    assert target.read_bytes() == BODY
    assert site.headers_of(0)["if-range"] == '"old"'


@pytest.mark.fault("F67")
def test_a_server_that_ignores_if_range_is_noticed_by_its_etag(site, target: Path) -> None:
    def ranged(handler: BaseHTTPRequestHandler) -> None:
        if "Range" not in handler.headers:
            return reply(handler, 200, BODY, etag='"new"')
        content_range = f"bytes 5-{len(BODY) - 1}/{len(BODY)}"
        return reply(handler, 206, BODY[5:], content_range=content_range, etag='"new"')

    site.routes["/file"] = ranged
    leave_part(target, b"older", etag='"old"')
    get(site, target)
    assert target.read_bytes() == BODY and len(site.requests) == 2


def test_a_part_of_another_file_is_found_out_by_the_hash_and_replaced(site, target: Path) -> None:
    site.routes["/file"] = BODY
    leave_part(target, b"x" * 1000)
    get(site, target)
    assert target.read_bytes() == BODY and len(site.requests) == 2


@pytest.mark.fault("F66")
def test_a_part_that_cannot_be_proved_right_is_not_continued(site, target: Path) -> None:
    site.routes["/file"] = BODY
    leave_part(target, BODY[:1000])
    get(site, target, sha256=None)
    assert target.read_bytes() == BODY
    assert "range" not in site.headers_of(0)


def test_a_part_longer_than_the_file_is_dropped(site, target: Path) -> None:
    site.routes["/file"] = BODY
    leave_part(target, BODY + b"more")
    get(site, target)
    assert target.read_bytes() == BODY


@pytest.mark.fault("F67")
def test_416_starts_over(site, target: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        reply(handler, 416) if "Range" in handler.headers else reply(handler, 200, BODY)

    site.routes["/file"] = answer
    leave_part(target, BODY[:1000])
    get(site, target)
    assert target.read_bytes() == BODY


def test_a_connection_that_breaks_is_continued(site, target: Path) -> None:
    def broken(handler: BaseHTTPRequestHandler) -> None:
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        stop = min(start + 100_000, len(BODY))
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Range", f"bytes {start}-{len(BODY) - 1}/{len(BODY)}")
        handler.send_header("Content-Length", str(len(BODY) - start))
        handler.end_headers()
        handler.wfile.write(BODY[start:stop])

    site.routes["/file"] = broken
    get(site, target)
    assert target.read_bytes() == BODY
    assert len(site.requests) == 8  # more breaks than tries: each one brought something


@pytest.mark.fault("F67")
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_when_it_says(site, target: Path, status: int) -> None:
    answers = iter([status, status])

    def busy(handler: BaseHTTPRequestHandler) -> None:
        code = next(answers, 200)
        reply(handler, code, BODY if code == 200 else b"", retry_after="7")

    site.routes["/file"] = busy
    waits: list[float] = []
    get(site, target, sleep=waits.append)
    assert target.read_bytes() == BODY
    assert len(waits) == 2 and all(7 <= wait <= 7 * 1.25 for wait in waits)


@pytest.mark.fault("F67")
def test_without_retry_after_the_waits_grow(site, target: Path) -> None:
    site.routes["/file"] = lambda handler: reply(handler, 503)
    waits: list[float] = []
    with pytest.raises(DownloadError, match=r"given up after 6 tries: 127\.0\.0\.1 answered 503"):
        get(site, target, sleep=waits.append)
    assert len(waits) == 5
    assert all(2**i <= wait <= 2**i * 1.25 for i, wait in enumerate(waits))


@pytest.mark.parametrize(
    ("status", "words"), [(401, "refused access"), (403, "--token"), (404, "answered 404")]
)
def test_a_refusal_is_final(site, target: Path, status: int, words: str) -> None:
    site.routes["/file"] = lambda handler: reply(handler, status)
    with pytest.raises(DownloadError, match=words):
        get(site, target)
    assert len(site.requests) == 1


@pytest.mark.fault("F67")
def test_a_web_page_is_not_taken_for_the_file(site, target: Path) -> None:
    page = b"<html>please log in</html>"
    site.routes["/file"] = lambda handler: reply(handler, 200, page, content_type="text/html")
    with pytest.raises(DownloadError, match="a web page in place of the file"):
        get(site, target)
    assert not target.exists() and not part_of(target).exists()


@pytest.mark.fault("F67")
def test_a_wrong_content_length_is_an_error_with_both_numbers(site, target: Path) -> None:
    site.routes["/file"] = BODY + b"!"
    with pytest.raises(DownloadError, match=r"offers 768,001 bytes, expected 768,000"):
        get(site, target)


def test_more_bytes_than_there_should_be_are_not_written(site, target: Path) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(200):
            handler.wfile.write(BODY)

    site.routes["/file"] = endless
    with pytest.raises(DownloadError, match=r"sent more than the 768,000 bytes"):
        get(site, target)
    assert not target.exists() and not part_of(target).exists()


@pytest.mark.fault("F67")
def test_a_wrong_hash_is_an_error_and_leaves_nothing(site, target: Path) -> None:
    site.routes["/file"] = BODY[:-1] + b"?"
    with pytest.raises(DownloadError, match=f"SHA-256 is .*, expected {SHA256}"):
        get(site, target)
    assert not target.exists() and not part_of(target).exists()


@pytest.mark.fault("F67")
@pytest.mark.parametrize("have", [0, 1000])
def test_a_gzip_encoded_body_is_decoded(site, target: Path, have: int) -> None:
    packed = gzip.compress(BODY)

    def encoded(handler: BaseHTTPRequestHandler) -> None:
        if "Range" in handler.headers:
            content_range = f"bytes 1000-{len(packed) - 1}/{len(packed)}"
            headers = {"content_range": content_range, "content_encoding": "gzip"}
            reply(handler, 206, packed[1000:], **headers)
        else:
            reply(handler, 200, packed, content_encoding="gzip")

    site.routes["/file"] = encoded
    if have:
        leave_part(target, BODY[:have])
    get(site, target)
    assert target.read_bytes() == BODY
    assert site.headers_of(0)["accept-encoding"] == "identity"


@pytest.mark.fault("F67")
def test_a_redirect_loop_ends(site, target: Path) -> None:
    site.routes["/file"] = lambda handler: reply(handler, 302, location="/file")
    with pytest.raises(DownloadError, match="more than 8 redirects"):
        get(site, target)
    assert len(site.requests) == 9


@pytest.mark.fault("F67")
@pytest.mark.parametrize("place", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://x/"])
def test_a_redirect_to_another_scheme_is_refused(site, target: Path, place: str) -> None:
    site.routes["/file"] = lambda handler: reply(handler, 302, location=place)
    with pytest.raises(DownloadError, match=f"refusing a redirect to {place.partition(':')[0]}"):
        get(site, target)
    assert not target.exists()


@pytest.mark.fault("F67")
def test_a_token_stays_with_its_host(site, target: Path) -> None:
    elsewhere = site.url.replace("127.0.0.1", "localhost")
    site.routes["/file"] = lambda handler: reply(handler, 302, location="/same")
    site.routes["/same"] = lambda handler: reply(handler, 302, location=f"{elsewhere}/other")
    site.routes["/other"] = BODY
    get(site, target, headers={"Authorization": "Bearer secret"})
    sent = {path: headers.get("authorization") for path, headers in site.requests}
    assert sent == {"/file": "Bearer secret", "/same": "Bearer secret", "/other": None}


@pytest.mark.fault("F70")
def test_no_name_service_is_one_clear_error_at_once(target: Path, monkeypatch) -> None:
    def no_dns(*_args, **_kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_dns)
    with pytest.raises(OfflineError, match=r"no way to models\.example .*seems to be offline"):
        Fetch("https://models.example/x", target, sleep=lambda _: pytest.fail("waited")).run()


def test_a_refused_connection_is_tried_again_and_then_given_up(target: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/file"
        waits: list[float] = []
        with pytest.raises(DownloadError, match="given up after 6 tries"):
            Fetch(url, target, sleep=waits.append).run()
    assert len(waits) == 5


@pytest.mark.fault("F65")
def test_no_room_is_said_before_anything_is_fetched(site, target: Path, monkeypatch) -> None:
    usage = namedtuple("usage", "total used free")(10, 10, 5_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match=r"1 MB are needed in .* and 0 MB are free"):
        get(site, target)
    assert site.requests == []


@pytest.mark.fault("F65")
def test_a_disk_that_fills_up_keeps_what_has_arrived(site, target: Path, monkeypatch) -> None:
    site.routes["/file"] = BODY
    real_open = Path.open

    class Full:
        def __init__(self, file) -> None:
            self.file, self.room = file, 100_000

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, chunk: bytes) -> int:
            written = self.file.write(chunk[: self.room])
            self.room -= written
            if written < len(chunk):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return written

    def open_full(path: Path, mode: str = "r", *rest, **named):
        file = real_open(path, mode, *rest, **named)
        return Full(file) if "wb" in mode else file

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(DownloadError, match=r"is full: .*has arrived is kept"):
        get(site, target)
    assert part_of(target).stat().st_size == 100_000
    monkeypatch.undo()
    get(site, target)
    assert target.read_bytes() == BODY
    assert site.headers_of(-1)["range"] == "bytes=100000-"


def test_a_file_url_is_copied(target: Path, tmp_path: Path) -> None:
    source = tmp_path / "a mirror" / "wheel.whl"
    source.parent.mkdir()
    source.write_bytes(BODY)
    Fetch(source.as_uri() + "#sha256=ab", target, len(BODY), SHA256).run()
    assert target.read_bytes() == BODY


def test_a_file_url_that_is_missing_or_wrong_is_an_error(target: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="No such file"):
        Fetch((tmp_path / "absent").as_uri(), target).run()
    (tmp_path / "other").write_bytes(BODY[:-1])
    with pytest.raises(DownloadError, match="767,999 bytes arrived, expected 768,000"):
        Fetch((tmp_path / "other").as_uri(), target, len(BODY), SHA256).run()
    with pytest.raises(DownloadError, match="is on another machine"):
        Fetch("file://server/share/x", target).run()


_CHILD = """
import sys
from pathlib import Path
from cactus.weights.hub.fetch import Fetch
url, target, size, sha256 = sys.argv[1:]
Fetch(url, Path(target), int(size), sha256).run()
"""


def _start(site, target: Path) -> subprocess.Popen[bytes]:
    arguments = [site.url + "/file", str(target), str(len(BODY)), SHA256]
    return subprocess.Popen([sys.executable, "-c", _CHILD, *arguments])


@pytest.mark.fault("F66")
def test_killed_in_the_middle_the_next_run_continues(site, target: Path) -> None:
    stalled = threading.Event()

    def slow(handler: BaseHTTPRequestHandler) -> None:
        if "Range" in handler.headers:
            content = BODY[int(handler.headers["Range"][6:-1]) :]
            start = len(BODY) - len(content)
            content_range = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
            return reply(handler, 206, content, content_range=content_range)
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        handler.wfile.write(BODY[:500_000])
        handler.wfile.flush()
        stalled.wait(20)
        return None

    site.routes["/file"] = slow
    child = _start(site, target)
    deadline = time.monotonic() + 20
    part = part_of(target)
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    stalled.set()
    arrived = part.stat().st_size
    assert 0 < arrived < len(BODY) and not target.exists()
    get(site, target)
    assert target.read_bytes() == BODY
    assert site.headers_of(-1)["range"] == f"bytes={arrived}-"


@pytest.mark.fault("F69")
def test_of_two_processes_one_downloads(site, target: Path) -> None:
    def slow(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.5)
        reply(handler, 200, BODY)

    site.routes["/file"] = slow
    children = [_start(site, target), _start(site, target)]
    assert [child.wait(30) for child in children] == [0, 0]
    assert target.read_bytes() == BODY
    assert len(site.requests) == 1


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"cannot read certificates from .*no\.pem"):
        fetch.tls_context(str(tmp_path / "no.pem"))
