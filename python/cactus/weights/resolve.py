"""From what a user calls a model to its weights folder, without a connection.

What is missing is an error that says how to fetch it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from cactus.errors import CactusError, ModelNotFound
from cactus.inputs.files import find_json, is_gguf
from cactus.inputs.text import reason_of
from cactus.models.abilities import Ability
from cactus.progress import Progress
from cactus.weights import catalog, locate
from cactus.weights.advice import ambiguous, not_found

_CONVERTER = 4
"""To be raised when a GGUF file becomes another weights folder than before: what the cache has of
it is made again then."""


def resolve(
    name_or_path: str | os.PathLike[str],
    progress: Progress | None = None,
    ability: Ability | None = None,
) -> Path:
    """The weights folder of a model given as folder, ``.gguf`` file, hub id or bare name.

    A GGUF file is converted once into the user's cache; the file itself is left alone. A part of
    a name stands for the one model on this machine that has it (and the `ability`). Raises
    `ModelNotFound` with the nearest names and the next step.
    """
    text = os.fspath(name_or_path)
    if isinstance(text, str) and text.strip():
        path = Path(os.path.expanduser(text))
        if locate.exists(path):
            # A folder of the current directory that is not a model does not hide a model's name.
            named = None if locate.is_weights_folder(path) else locate.find_named(text)
            return named or _from_path(path, progress)
        found = find_installed(text, ability)
        if found is not None:
            return found
    raise not_found(str(text), ability)


def find_installed(text: str, ability: Ability | None = None) -> Path | None:
    """The model on this machine that a name, a hub id or a part of its name stands for, or None.

    Raises `ModelNotFound` for a part of several names.
    """
    named = locate.find_named(text)
    if named is not None or catalog.find(text) is not None:
        return named
    alike = locate.find_parts(text, ability)
    if len(alike) > 1:
        raise ambiguous(text, [folder.name for folder in alike])
    return alike[0] if alike else None


def _from_path(path: Path, progress: Progress | None) -> Path:
    if path.is_dir():
        # Raises where config.json is there and cannot be read.
        config = find_json(path / "config.json")
        if config is not None and "cactus" in config:
            return path
        if config is not None:
            raise ModelNotFound(
                f'"{path}" is not a converted model (its config.json has no "cactus" section); '
                f'a checkpoint is converted by: cactus convert "{path}"'
            )
        ggufs = sorted(path.glob("*.gguf"))
        if ggufs:
            raise ModelNotFound(f'"{path}" is not a weights folder; did you mean "{ggufs[0]}"?')
        raise ModelNotFound(f'"{path}" is not a weights folder: it has no config.json')
    # The stores of other programs name their files by a digest, without a suffix.
    if path.suffix.lower() == ".gguf" or is_gguf(path):
        return _converted_gguf(path, progress)
    raise ModelNotFound(f'"{path}" is neither a weights folder nor a GGUF file')


def _converted_gguf(path: Path, progress: Progress | None) -> Path:
    """The weights folder made from a GGUF file, made now when the file is new or has changed."""
    from filelock import FileLock

    from cactus.weights.convert import convert
    from cactus.weights.format.folder import FORMAT
    from cactus.weights.sources.origin import is_described

    def is_kept() -> bool:
        return _is_whole(target) and is_described(path, locate.describe(target).get("source"))

    # Not resolved: behind a link the other parts of a model may have other names.
    path = Path(os.path.abspath(path))
    status = path.stat()
    place = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    home = locate.cache_root() / locate.GGUF_FOLDER / f"{path.stem[:80]}-{place}"
    target = home / f"{FORMAT}.{_CONVERTER}-{status.st_size}-{status.st_mtime_ns}{_eyes(path)}"
    if is_kept():
        return target
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / ".lock"):
            if not is_kept():
                if not locate.is_weights_folder(target):  # what a cleaner of caches has left of it
                    shutil.rmtree(target, ignore_errors=True)
                convert(path, target, None, progress)
                _remove_others(target)
    except OSError as error:
        raise CactusError(
            f'cannot keep the converted form of "{path}" in "{home}": {reason_of(error)}; '
            f'convert it into a folder of your own with: cactus convert "{path}" FOLDER'
        ) from error
    return target


def _eyes(path: Path) -> str:
    """What becomes another model when the files beside it with which it may see are others."""
    from cactus.weights.sources.from_gguf import mmproj_files

    files = [(each.name, each.stat()) for each in mmproj_files(path)]
    if not files:
        return ""
    known = repr([(name, status.st_size, status.st_mtime_ns) for name, status in files])
    return f"-{hashlib.sha256(known.encode()).hexdigest()[:8]}"


def _is_whole(folder: Path) -> bool:
    """Whether the files of a conversion are there: anybody may delete what lies in a cache."""
    from cactus.weights.format.folder import WeightsFolder

    try:
        with WeightsFolder.open(folder) as weights:
            return weights.tokenizer_path.is_file()
    except CactusError:
        return False


def _remove_others(target: Path) -> None:
    """Deletes the conversions of earlier versions of the same file."""
    for other in target.parent.iterdir():
        if other != target and other.is_dir():
            shutil.rmtree(other, ignore_errors=True)
