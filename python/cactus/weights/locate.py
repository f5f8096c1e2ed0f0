"""Where models lie on this machine, and from a name to a weights folder.

A *weights folder* has a ``config.json`` with a ``cactus`` section (see `cactus.weights.folder`).
Nothing here opens a connection; what is missing is an error that says how to fetch it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cactus.errors import CactusError, ModelFormatError, ModelNotFound
from cactus.weights import catalog
from cactus.weights.files import find_json, read_bytes

_CONVERTER = 2
"""To be raised when a GGUF file becomes another weights folder than before: what the cache has of
it is made again then."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is (0: unknown)."""


def weights_root() -> Path:
    """The folder that downloads go to; it need not exist yet.

    ``CACTUS_WEIGHTS``, else ``./weights`` where that folder exists, else ``weights`` of the
    checkout around the current folder, else the user's data folder.
    """
    return search_roots()[0]


def search_roots() -> list[Path]:
    """Every folder whose sub-folders are models, the first being `weights_root`."""
    forced = os.environ.get("CACTUS_WEIGHTS")
    if forced:
        return [Path(os.path.expanduser(forced)).absolute()]
    roots = []
    here = _current_folder()
    if here is not None:
        if (here / "weights").is_dir():
            roots.append(here / "weights")
        around = find_checkout(here)
        if around is not None:
            roots.append(around / "weights")
    roots.append(_user_folder("data") / "weights")
    # A command of a checkout's environment finds the checkout's models from anywhere.
    own = find_checkout(Path(__file__).parent)
    if own is not None:
        roots.append(own / "weights")
    return list(dict.fromkeys(roots))


def find_checkout(start: Path) -> Path | None:
    """The root of the Cactus checkout that `start` lies in, or None."""
    for folder in (start, *start.parents):
        project = folder / "pyproject.toml"
        if project.is_file() and (folder / "python" / "cactus").is_dir():
            try:
                text = read_bytes(project, 1 << 20).decode("utf-8", "replace")
            except CactusError:
                return None
            named = re.search(r'^name = "(.+)"$', text, re.M)
            return folder if named and named[1] == "cactus" else None
    return None


def is_weights_folder(path: Path) -> bool:
    """Whether `path` is a converted model (its tensors are not looked at)."""
    return "cactus" in read_config(path)


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a folder; empty where there is none, or none that can be read."""
    try:
        return find_json(folder / "config.json") or {}
    except ModelFormatError:  # whoever opens the folder says what is wrong with it
        return {}


def installed() -> list[Path]:
    """The weights folders on this machine; of two with one name, the one that a name means."""
    return [folder for folder, fault in entries() if fault is None]


def entries() -> list[tuple[Path, ModelFormatError | None]]:
    """`installed`, and the folders among them whose config.json cannot be read, with the error."""
    found: dict[str, tuple[Path, ModelFormatError | None]] = {}
    for root in search_roots():
        try:
            folders = sorted(root.iterdir())
        except OSError:
            continue
        for folder in folders:
            if folder.name.startswith("."):
                continue
            try:
                config, fault = find_json(folder / "config.json"), None
            except ModelFormatError as error:
                if not folder.is_dir():  # a file, of which config.json is not part
                    continue
                config, fault = None, error
            # A damaged folder does not hide a sound one of another root.
            sound = config is not None and "cactus" in config
            if sound and found.get(folder.name, (folder, fault))[1] is not None:
                del found[folder.name]
            if sound or fault is not None:
                found.setdefault(folder.name, (folder, fault))
    return list(found.values())


def resolve(name_or_path: str | os.PathLike[str], progress: Progress | None = None) -> Path:
    """The weights folder of a model given as folder, ``.gguf`` file, hub id or bare name.

    A ``.gguf`` file is converted once into the user's cache; the file itself is left alone.
    Raises `ModelNotFound` naming the places looked at and the nearest known names.
    """
    text = os.fspath(name_or_path)
    if isinstance(text, str) and text.strip():
        path = Path(os.path.expanduser(text))
        if _exists(path):
            # A folder of the current directory that is no model does not hide a model's name.
            named = None if is_weights_folder(path) else find_named(text)
            return named or _from_path(path, progress)
        named = find_named(text)
        if named is not None:
            return named
    raise not_found(str(text))


def find_named(name_or_id: str) -> Path | None:
    """The weights folder of a hub id, a bare name or ``weights/<name>``, or None.

    A hub id finds only the folder that was made from it: a model of the same name by another
    owner, or a mistyped ``wieghts/<name>``, is not that model.
    """
    name = _bare_name(name_or_id)
    if name is not None:
        return _find_folder(name)
    if is_path(name_or_id) or not catalog.is_hub_id(name_or_id):
        return None
    folder = _find_folder(name_or_id.rpartition("/")[2])
    if folder is None or (source_id(folder) or "").lower() != name_or_id.lower():
        return None
    return folder


def source_id(folder: Path) -> str | None:
    """The hub id that a weights folder was made from, or None where nothing says it.

    It is ``cactus.source.hub_id`` of the folder's config.json, else that of the catalog's model
    with the folder's name.
    """
    source = describe(folder).get("source")
    recorded = source.get("hub_id") if isinstance(source, dict) else None
    if isinstance(recorded, str) and catalog.is_hub_id(recorded):
        return recorded
    entry = catalog.find(folder.name)
    return entry.hub_id if entry is not None else None


def describe(folder: Path) -> dict[str, Any]:
    """What a weights folder says of its making: the section ``cactus`` of its config.json."""
    own = read_config(folder).get("cactus")
    return own if isinstance(own, dict) else {}


def is_path(text: str) -> bool:
    """Whether `text` can only mean a place on this machine, never a model of the hub."""
    text = text.replace("\\", "/")
    if text.startswith(("weights/", "./", "../", "/", "~")) or text.lower().endswith(".gguf"):
        return True
    first, slash, _ = text.partition("/")
    return bool(slash) and _exists(Path(first))


def name_clash(hub_id: str) -> ModelNotFound | None:
    """The error for a hub id whose folder holds another model, or None."""
    folder = _find_folder(catalog.folder_name(hub_id))
    if folder is None or find_named(hub_id) is not None:
        return None
    source = source_id(folder)
    known = f"is {source}" if source else "does not say where it comes from"
    return ModelNotFound(
        f'no model "{hub_id}" on this machine: "{folder}" has that name and {known}; '
        f'to use that one, name it "{folder.name}"; to fetch the other one, move it away first'
    )


def cache_root() -> Path:
    """The user's cache folder of Cactus; what lies in it can be made again."""
    return _user_folder("cache")


def not_found(text: str) -> CactusError:
    """The error for a model that is not there, with the nearest names and the next step.

    For the name of a folder that cannot be read it is what is wrong with that.
    """
    shown = text if len(text) <= 120 else f"{text[:100]}… ({len(text)} characters)"
    bare = _bare_name(text)
    for folder, fault in entries():
        if fault is not None and bare in (folder.name, folder.name.lower()):
            return fault
    entry = catalog.find(bare or catalog.split_file(text)[0])
    if entry is not None and not entry.runs:
        from cactus.models.base import known_architectures

        return ModelNotFound(
            f'model "{shown}" is not on this machine, and this version cannot run it: its '
            f"architecture is {entry.model_type}, and there are {', '.join(known_architectures())}"
        )
    if entry is not None:
        return ModelNotFound(
            f'model "{shown}" is not on this machine; fetch it with: cactus download {entry.hub_id}'
        )
    path, hub_id = is_path(text), catalog.is_hub_id(text)
    clash = name_clash(text) if hub_id and not path else None
    if clash is not None:
        return clash
    here = [path.name for path in installed()]
    close = catalog.suggest(text, [*here, *(entry.name for entry in catalog.CATALOG)])
    places = ", ".join(f'"{root}"' for root in search_roots())
    advice = f"did you mean {' or '.join(close)}? " if close else ""
    if path:
        named = f"as in {bare}" if bare and bare != text else f"as in {catalog.STARTER.name}"
        advice += f"A downloaded model is named without a folder, {named}. "
    fetch = text if hub_id and not path else catalog.STARTER.hub_id
    return ModelNotFound(
        f'no model "{shown}": {advice}Looked for a path of that name and in {places}; '
        f"cactus list shows what is there, cactus download {fetch} fetches one"
    )


def _bare_name(text: str) -> str | None:
    """The name in a bare name or a ``weights/<name>`` path, or None."""
    text = text.replace("\\", "/").rstrip("/")
    below = text.removeprefix("./")
    name = below.removeprefix("weights/")
    return name if catalog.is_name(name) and name in (text, below[len("weights/") :]) else None


def _find_folder(name: str) -> Path | None:
    """The weights folder of this name in the first root that has one, or None."""
    for root in search_roots():
        for candidate in (root / name.lower(), root / name):
            if is_weights_folder(candidate):
                return candidate
    return None


def _from_path(path: Path, progress: Progress | None) -> Path:
    if path.is_dir():
        if is_weights_folder(path):
            return path
        # Raises where config.json is there and cannot be read.
        if find_json(path / "config.json") is not None:
            raise ModelNotFound(
                f'"{path}" is not a converted model (its config.json has no "cactus" section); '
                f'a checkpoint is converted by: cactus convert "{path}"'
            )
        ggufs = sorted(path.glob("*.gguf"))
        if ggufs:
            raise ModelNotFound(f'"{path}" is no weights folder; did you mean "{ggufs[0]}"?')
        raise ModelNotFound(f'"{path}" is no weights folder: it has no config.json')
    from cactus.weights.files import is_gguf

    # The stores of other programs name their files by a digest, without a suffix.
    if path.suffix.lower() == ".gguf" or is_gguf(path):
        return _converted_gguf(path, progress)
    raise ModelNotFound(f'"{path}" is neither a weights folder nor a GGUF file')


def _converted_gguf(path: Path, progress: Progress | None) -> Path:
    """The weights folder made from a GGUF file, made now when the file is new or has changed."""
    from filelock import FileLock

    from cactus.weights.convert import convert
    from cactus.weights.folder import FORMAT
    from cactus.weights.origin import is_described

    def is_kept() -> bool:
        return is_weights_folder(target) and is_described(path, describe(target).get("source"))

    path = path.resolve()
    status = path.stat()
    place = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    home = cache_root() / "gguf" / f"{path.stem[:80]}-{place}"
    target = home / f"{FORMAT}.{_CONVERTER}-{status.st_size}-{status.st_mtime_ns}"
    if is_kept():
        return target
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / ".lock"):
            if not is_kept():
                convert(path, target, None, progress)
                _remove_others(target)
    except OSError as error:
        raise CactusError(
            f'cannot keep the converted form of "{path}" in "{home}": {error.strerror or error}; '
            f'convert it into a folder of your own with: cactus convert "{path}" FOLDER'
        ) from error
    return target


def _remove_others(target: Path) -> None:
    """Deletes the conversions of earlier versions of the same file."""
    for other in target.parent.iterdir():
        if other != target and other.is_dir():
            shutil.rmtree(other, ignore_errors=True)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long for the file system, or with a NUL
        return False


def _current_folder() -> Path | None:
    try:
        return Path.cwd()
    except OSError:  # it has been deleted
        return None


def _user_folder(kind: str) -> Path:
    import platformdirs

    find = platformdirs.user_data_path if kind == "data" else platformdirs.user_cache_path
    return Path(find("cactus", appauthor=False))
