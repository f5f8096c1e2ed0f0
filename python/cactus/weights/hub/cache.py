"""The hub's cache on this machine, shared with every other program that uses the hub.

    <HF_HOME>/hub/models--<owner>--<name>/
        refs/<branch or tag>            the commit it was at
        snapshots/<commit>/<file>       a link to
        blobs/<digest>                  the bytes, under their SHA-256 (small files: git's SHA-1)

What another program has fetched is used, and what we fetch is there for others. The bytes come
through `fetch` and not through the library's own download, which does not continue after a process
was killed and does not compare the SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cactus.errors import CactusError, DownloadError
from cactus.inputs.files import RegularFile, read_bytes, replace_file
from cactus.inputs.partial import begin, end
from cactus.inputs.text import reason_of
from cactus.progress import Progress
from cactus.weights.hub import client as hub
from cactus.weights.hub.client import HubFile, Repository
from cactus.weights.hub.fetch import AccessError, Fetch, check_space

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass
class HubCache:
    """The part of the cache that belongs to one repository."""

    hub_id: str
    progress: Progress | None = None

    @property
    def home(self) -> Path:
        """The repository's folder, which need not exist."""
        return cache_root() / f"models--{self.hub_id.replace('/', '--')}"

    def snapshot(self, commit: str) -> Path:
        """The folder of a commit's files."""
        return self.home / "snapshots" / commit

    def commit_of(self, revision: str | None) -> str | None:
        """The commit that a revision was at when the hub was last asked, or None."""
        if revision is not None and _COMMIT.fullmatch(revision):
            return revision
        try:
            text = read_bytes(self.home / "refs" / (revision or "main"), 1000)
        except CactusError:
            return None
        commit = text.decode("utf-8", "replace").strip()
        return commit if _COMMIT.fullmatch(commit) else None

    def remember(self, revision: str | None, commit: str) -> None:
        """Writes down which commit a branch or tag is at, where that can be written."""
        revision = revision or "main"
        if revision == commit or self.commit_of(revision) == commit:
            return
        place = self.home / "refs" / revision
        # The cache may be read-only, and "x" and "x/y" may have been branches one after another.
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            replace_file(place, commit.encode())

    def has(self, commit: str, name: str) -> bool:
        """Whether a file of a commit is here (its bytes are not looked at)."""
        return (self.snapshot(commit) / name).exists()

    def verified(self, commit: str, file: HubFile) -> bool:
        """Whether a file that is here is what it should be; without a known SHA-256, its size."""
        try:
            found = RegularFile(self.snapshot(commit) / file.name)
        except CactusError:  # something else has its name
            return False
        try:
            if file.size is not None and found.size != file.size:
                return False
            if file.sha256 is None:
                return True
            digest = hashlib.sha256()
            for start in range(0, found.size, 1 << 20):
                stop = min(found.size, start + (1 << 20))
                digest.update(found.read(start, stop - start))
                if self.progress is not None:
                    self.progress(f"checking {file.name}", stop, found.size)
            return digest.hexdigest() == file.sha256
        finally:
            found.close()

    def described(self, commit: str, name: str) -> HubFile:
        """A file that is here, by what its blob is called."""
        path = self.snapshot(commit) / name
        blob = Path(os.readlink(path)).name if path.is_symlink() else ""
        return HubFile(name, None, blob if re.fullmatch("[0-9a-f]{64}", blob) else None, None)

    def fetch(self, repository: Repository, names: list[str], token: str | None) -> None:
        """Puts files of a commit into the cache; those that are here are checked and kept.

        Raises `DownloadError`.
        """
        try:
            wanted = [repository.files[name] for name in names]
            absent = [file for file in wanted if not self._is_right(repository.commit, file)]
            if absent:
                blobs = self.home / "blobs"
                blobs.mkdir(parents=True, exist_ok=True)
                check_space(blobs, sum(self._missing(file) for file in absent), self.hub_id)
            for file in absent:
                self._fetch(repository, file, token)
        except AccessError as error:
            raise hub.explain_refusal(self.hub_id, token, error) from error
        except OSError as error:
            raise DownloadError(
                f'cannot write into the hub\'s cache "{self.home}": {reason_of(error)}; '
                "set HF_HOME to a folder that can be written"
            ) from error

    def _is_right(self, commit: str, file: HubFile) -> bool:
        pointer = self.snapshot(commit) / file.name
        blob = self.home / "blobs" / file.blob if file.blob else pointer
        if not pointer.exists() and blob.exists():  # the same file as at another commit
            _link(blob, pointer)
        if not pointer.exists():
            return False
        if self.verified(commit, file):
            return True
        # The cache's own entries; what they lead to may be no part of it.
        for entry in (pointer, blob):
            entry.unlink(missing_ok=True)
        return False

    def _missing(self, file: HubFile) -> int:
        if file.blob is None:
            return file.size or 0
        part = self.home / "blobs" / f"{file.blob}.part"
        return max(0, (file.size or 0) - (part.stat().st_size if part.exists() else 0))

    def _fetch(self, repository: Repository, file: HubFile, token: str | None) -> None:
        pointer = self.snapshot(repository.commit) / file.name
        pointer.parent.mkdir(parents=True, exist_ok=True)
        # Without a digest there is no name for a blob; the file itself lies in the snapshot.
        blob = self.home / "blobs" / file.blob if file.blob else pointer
        lock = cache_root() / ".locks" / self.home.name / f"{file.blob or file.name}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        Fetch(
            hub.file_url(repository, file.name),
            blob,
            file.size,
            file.sha256,
            file.git_oid,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            progress=self.progress,
            title=file.name,
            lock=lock,
        ).run()
        if blob != pointer:
            _link(blob, pointer)


def cache_root() -> Path:
    """The folder of the hub's cache: ``HF_HUB_CACHE``, or ``hub`` below ``HF_HOME``."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _link(blob: Path, pointer: Path) -> None:
    """Makes `pointer` a relative link to `blob`, or moves the bytes where there are no links."""
    pointer.parent.mkdir(parents=True, exist_ok=True)
    link = begin(pointer)
    try:
        try:
            link.symlink_to(os.path.relpath(blob, pointer.parent))
        except OSError:  # a file system without symbolic links
            os.replace(blob, pointer)
        else:
            os.replace(link, pointer)
    finally:
        end(link)
