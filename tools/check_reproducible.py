"""Builds the wheel and the source package twice, a day apart by date, and compares their bytes.

python tools/check_reproducible.py

The two builds differ in folder, clock, time zone, language, umask and times of files, and share no
compiler cache. Where bytes differ, it names the member of the package and exits with 1. Needs the
program faketime (apt-get install faketime) and what `source ./setup` installs.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

BUILD = """
import json, os, sys
from scikit_build_core import build
os.umask(int(sys.argv[1], 8))
build.build_sdist(sys.argv[2])
build.build_wheel(sys.argv[2], json.loads(sys.argv[3]))
"""


@dataclass(frozen=True)
class Place:
    """Where and when one of the two builds happens."""

    folder: str
    seconds: int
    zone: str
    language: str
    umask: str


PLACES = (
    Place("one", 1_700_000_000, "UTC", "C.UTF-8", "022"),
    Place("another folder/of the same", 1_700_086_400, "Asia/Tokyo", "C", "077"),
)


def copy_sources(target: Path, seconds: int) -> None:
    """Copy what git knows of this checkout, as it lies there, with times of that day."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, path)
        os.utime(path, (seconds, seconds))


def make(place: Place, scratch: Path, settings: str, clock: bool) -> Path:
    """The folder with the packages that are built from the sources there."""
    source, made = scratch / place.folder, scratch / f"made {place.umask}"
    made.mkdir()
    environment = {
        **{name: text for name, text in os.environ.items() if name != "SOURCE_DATE_EPOCH"},
        "TZ": place.zone,
        "LC_ALL": place.language,
        "CCACHE_DISABLE": "1",
        "NO_FAKE_STAT": "1",
        "PYTHONHASHSEED": str(place.seconds % 1000),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    faked = ["faketime", "-f", f"@{_date(place.seconds)}"] if clock else []
    command = [*faked, sys.executable, "-c", BUILD, place.umask, str(made), settings]
    done = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the build in {source} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return made


def _date(seconds: int) -> str:
    from datetime import datetime, timezone

    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def members(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Name, what the archive says of it, and bytes of each member, in their order."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                said = f"{info.date_time} {info.external_attr:o} {info.compress_type}"
                yield info.filename, said, archive.read(info)
    else:
        with tarfile.open(path) as tar:
            for entry in tar:
                file = tar.extractfile(entry) or io.BytesIO()
                said = f"{entry.mtime} {entry.mode:o} {entry.uid} {entry.gid} {entry.uname}"
                yield entry.name, said, file.read()


def differences(first: Path, second: Path) -> list[str]:
    """What differs between two packages, a line each; none where their bytes are the same."""
    if first.read_bytes() == second.read_bytes():
        return []
    one, two = list(members(first)), list(members(second))
    if [name for name, *_ in one] != [name for name, *_ in two]:
        return [f"{first.name}: other members, or in another order"]
    found = []
    for (name, said, data), (_, other_said, other) in zip(one, two, strict=True):
        if said != other_said:
            found.append(f"{first.name}: {name}: {said} and {other_said}")
        if data != other:
            at = next((i for i, (a, b) in enumerate(zip(data, other, strict=False)) if a != b), -1)
            found.append(
                f"{first.name}: {name}: other bytes from {at} on ({len(data)}, {len(other)})"
            )
    return found or [f"{first.name}: the archives differ, and their members do not"]


def check(settings: str = "{}", clock: bool = True) -> tuple[dict[str, str], list[str]]:
    """The SHA-256 of each package of the first build, and what differs in the second."""
    with tempfile.TemporaryDirectory() as scratch:
        for place in PLACES:  # before minutes pass in which somebody may edit them
            copy_sources(Path(scratch) / place.folder, place.seconds)
        first, second = (make(place, Path(scratch), settings, clock) for place in PLACES)
        names = sorted(path.name for path in first.iterdir())
        others = sorted(path.name for path in second.iterdir())
        if names != others:
            return {}, [f"{names} and {others}"]
        found = [line for name in names for line in differences(first / name, second / name)]
        sums = {name: hashlib.sha256((first / name).read_bytes()).hexdigest() for name in names}
        return sums, found


def main() -> int:
    if shutil.which("faketime") is None:
        print("faketime is missing: apt-get install faketime", file=sys.stderr)
        return 2
    sums, found = check()
    for name, digest in sums.items():
        print(f"{digest}  {name}")
    print("\n".join(found) if found else "the same bytes, a day apart")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
