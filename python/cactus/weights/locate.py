"""Where models lie on this machine, and which of them a name means.

A *weights folder* has a ``config.json`` with a ``cactus`` section (see `weights.format`).
Nothing here opens a connection.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cactus.errors import CactusError, ModelFormatError
from cactus.inputs.files import find_json, read_bytes
from cactus.models.abilities import Ability
from cactus.models.uses import abilities_of
from cactus.weights import catalog, names

GGUF_FOLDER = "gguf"
"""Where in the cache GGUF files lie in converted form, each in ``<name>-<digest>``."""


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


@dataclass(frozen=True)
class Entry:
    """A folder below a weights root: its config.json, or the `fault` that keeps it from us."""

    folder: Path
    config: Mapping[str, Any]
    fault: ModelFormatError | None = None

    @property
    def abilities(self) -> tuple[Ability, ...]:
        """What the model can do; nothing where its architecture is not known."""
        return abilities_of(self.config)


def installed(ability: Ability | None = None) -> list[Path]:
    """The weights folders on this machine; of two with one name, the one that a name means."""
    return [
        entry.folder
        for entry in entries()
        if entry.fault is None and (ability is None or ability in entry.abilities)
    ]


def entries() -> list[Entry]:
    """What `installed` lists, and the folders among them whose config.json cannot be read."""
    found: dict[str, Entry] = {}
    for root in search_roots():
        try:
            folders = sorted(root.iterdir())
        except OSError:
            continue
        for folder in folders:
            known = None if folder.name.startswith(".") else entry(folder)
            if known is None:
                continue
            first = found.setdefault(folder.name, known)
            # A damaged folder does not hide a whole one of another root.
            if first.fault is not None and known.fault is None:
                found[folder.name] = known
    return list(found.values())


def entry(folder: Path) -> Entry | None:
    """What is known of the model in a folder; None where there is none."""
    try:
        config = find_json(folder / "config.json")
    except ModelFormatError as error:
        # Below a file there is no config.json.
        return Entry(folder, {}, error) if folder.is_dir() else None
    return Entry(folder, config) if config is not None and "cactus" in config else None


def find_named(name_or_id: str) -> Path | None:
    """The weights folder of a hub id (or address), a bare name or ``weights/<name>``, or None.

    A hub id finds only the folder that was made from it: a model of the same name by another
    owner, or a mistyped ``wieghts/<name>``, is not that model. The same holds for a file or a
    revision that is named with it.
    """
    name = bare_name(name_or_id)
    if name is not None:
        return find_folder(name)
    wanted = None if is_path(name_or_id) else names.parse_hub_name(name_or_id)
    if wanted is None:
        return None
    folder = find_folder(catalog.folder_name(wanted.hub_id))
    if folder is None:
        return None
    source = source_of(folder)
    if (source_id(folder, source) or "").lower() != wanted.hub_id.lower():
        return None
    return folder if is_made_from(source, wanted.file, wanted.revision) else None


def is_made_from(source: Mapping[str, Any], file: str | None, revision: str | None) -> bool:
    """Whether a folder's ``source`` is this file and revision of its repository (None: any)."""
    if file is not None and not names.is_file_called(str(source.get("file")), file):
        return False
    if revision is None or revision == source.get("revision"):
        return True
    return len(revision) >= 7 and str(source.get("commit", "")).startswith(revision)


def find_parts(text: str, ability: Ability | None = None) -> list[Path]:
    """The models on this machine in whose names a word begins with `text`."""
    if len(text) < 2 or not catalog.is_name(text):
        return []
    return [folder for folder in installed(ability) if names.is_part(text, folder.name)]


def name_of(folder: Path) -> str:
    """What a user calls the model in a folder: for a converted GGUF file, the file's name."""
    folder = Path(os.path.abspath(folder))
    if folder.parent.parent == cache_root() / GGUF_FOLDER:
        return folder.parent.name.rpartition("-")[0]
    return folder.name


def source_id(folder: Path, source: Mapping[str, Any] | None = None) -> str | None:
    """The hub id that a weights folder was made from, or None where nothing says it.

    It is ``cactus.source.hub_id`` of the folder's config.json, else that of the catalog's model
    with the folder's name. `source` is that section where it has been read.
    """
    recorded = (source_of(folder) if source is None else source).get("hub_id")
    if isinstance(recorded, str) and catalog.is_hub_id(recorded):
        return recorded
    entry = catalog.find(folder.name)
    return entry.hub_id if entry is not None else None


def describe(folder: Path) -> dict[str, Any]:
    """What a weights folder says of its making: the section ``cactus`` of its config.json."""
    own = read_config(folder).get("cactus")
    return own if isinstance(own, dict) else {}


def source_of(folder: Path) -> dict[str, Any]:
    """Where a weights folder says that it comes from: ``cactus.source`` of its config.json."""
    source = describe(folder).get("source")
    return source if isinstance(source, dict) else {}


def is_path(text: str) -> bool:
    """Whether `text` can only mean a place on this machine, never a model of the hub."""
    if names.is_address(text):
        return False
    text = text.replace("\\", "/")
    if text.startswith(("weights/", "./", "../", "/", "~")):
        return True
    repository, colon, _ = text.partition(":")
    of_hub = bool(colon) and catalog.is_hub_id(repository)  # owner/name:file.gguf
    if text.lower().endswith(".gguf") and not of_hub:
        return True
    first, slash, _ = text.partition("/")
    return bool(slash) and exists(Path(first))


def cache_root() -> Path:
    """The user's cache folder of Cactus; what lies in it can be made again."""
    return _user_folder("cache")


def bare_name(text: str) -> str | None:
    """The name in a bare name or a ``weights/<name>`` path, or None."""
    text = text.replace("\\", "/").rstrip("/")
    below = text.removeprefix("./")
    name = below.removeprefix("weights/")
    return name if catalog.is_name(name) and name in (text, below[len("weights/") :]) else None


def find_folder(name: str) -> Path | None:
    """The weights folder of this name in the first root that has one, or None."""
    for root in search_roots():
        for candidate in (root / name.lower(), root / name):
            if is_weights_folder(candidate):
                return candidate
    return None


def exists(path: Path) -> bool:
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
