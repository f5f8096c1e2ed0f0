"""Getting the files of a hub model that a conversion needs, from the cache and from the hub.

That is configuration, tokenizer and safetensors; of a repository of GGUF files it is one of these.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cactus.errors import DownloadError, ModelFormatError, ModelNotFound, UnsupportedModel
from cactus.inputs.checks import short
from cactus.inputs.files import read_json
from cactus.progress import Progress
from cactus.tokenizer import VOCABULARY_FILES
from cactus.weights import catalog
from cactus.weights.hub import client as hub
from cactus.weights.hub.cache import HubCache
from cactus.weights.hub.fetch import OfflineError
from cactus.weights.names import is_file_called, quantisation
from cactus.weights.sources import embedder
from cactus.weights.sources.checkpoint import (
    INDEX,
    PICKLE_ADVICE,
    PICKLE_SUFFIXES,
    SINGLE,
    check_tokenizer_files,
)
from cactus.weights.sources.gguf.split import part_names

_SMALL_FILES = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
    "processor_config.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    *embedder.SMALL_FILES,
)

_BEST_GGUF = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_1", "Q4_0", "BF16", "F16", "F32")
"""What is taken of a repository of GGUF files when nothing is asked for: the first that is there.

It begins with what `INT8`, the default for the hub's other weights, is closest to.
"""


@dataclass(frozen=True)
class Checkpoint:
    """Files of a commit that are on this machine: a Hugging Face folder or one .gguf file."""

    path: Path
    commit: str


def get_checkpoint(
    hub_id: str,
    *,
    revision: str | None = None,
    file: str | None = None,
    token: str | None = None,
    offline: bool = False,
    progress: Progress | None = None,
    accept: Callable[[dict[str, Any]], object],
) -> Checkpoint:
    """The files of `hub_id` at a branch, tag or commit (None: the main branch).

    `file` names a .gguf file or what it is quantised to ("Q4_K_M"). `offline` asks nobody: what
    the cache has for that revision is taken, as it is where the hub cannot be reached. `accept`
    sees config.json before the large files are fetched and raises where the model cannot be used.

    Raises `ModelNotFound`, `UnsupportedModel`, `ModelFormatError`, `OfflineError` or
    `DownloadError`.
    """
    cache = HubCache(hub_id, progress)
    if offline:
        return _from_cache(cache, revision, file, accept, None)
    token = hub.find_token(token)
    try:
        repository = hub.ask(hub_id, revision, token)
    except OfflineError as error:
        return _from_cache(cache, revision, file, accept, error)

    def get(names: list[str]) -> None:
        if repository.gguf is not None and names[0].lower().endswith(".gguf"):
            _check_gguf_architecture(hub_id, repository.gguf)
        cache.fetch(repository, names, token)

    path = _collect(cache, repository.commit, repository.files, file, get, accept)
    cache.remember(revision, repository.commit)
    return Checkpoint(path, repository.commit)


def _from_cache(
    cache: HubCache,
    revision: str | None,
    file: str | None,
    accept: Callable[[dict[str, Any]], object],
    failure: OfflineError | None,
) -> Checkpoint:
    absent = failure or OfflineError(
        f"{cache.hub_id} is not on this machine and downloads are switched off "
        "(--offline or HF_HUB_OFFLINE); models that are here already work, see cactus list"
    )
    commit = cache.commit_of(revision)
    if commit is None or not cache.snapshot(commit).is_dir():
        raise absent
    snapshot = cache.snapshot(commit)
    found = (*snapshot.glob("*"), *snapshot.glob("*/*"))
    here = {path.relative_to(snapshot).as_posix() for path in found if path.is_file()}

    def get(names: list[str]) -> None:
        for name in names:
            if name not in here:
                raise absent
            if not cache.verified(commit, cache.described(commit, name)):
                raise DownloadError(
                    f'"{cache.snapshot(commit) / name}" is damaged: its SHA-256 is not the one it '
                    "is named by; it is fetched again when this machine is online"
                )

    try:
        return Checkpoint(_collect(cache, commit, here, file, get, accept), commit)
    except (UnsupportedModel, ModelNotFound) as error:
        # A cache that lacks a file says nothing about the repository.
        if "config.json" in here and (SINGLE in here or INDEX in here):
            raise
        raise absent from error


def _collect(
    cache: HubCache,
    commit: str,
    names: Collection[str],
    file: str | None,
    get: Callable[[list[str]], None],
    accept: Callable[[dict[str, Any]], object],
) -> Path:
    """Gets what is needed of `names`, the small files first; the path to convert from."""
    folder = cache.snapshot(commit)
    ggufs = [name for name in names if name.lower().endswith(".gguf")]
    if file is not None or (ggufs and SINGLE not in names and INDEX not in names):
        name = choose_gguf(cache.hub_id, ggufs, file)
        get(part_names(name))
        eyes = choose_mmproj(ggufs)
        if eyes is not None:
            get([eyes])
        return folder / name
    if "config.json" not in names:
        raise UnsupportedModel(
            f"{cache.hub_id} has no config.json; it is not a transformers checkpoint"
        )
    get(["config.json"])
    accept(read_json(folder / "config.json"))
    if SINGLE not in names and INDEX not in names:
        pickles = sorted(name for name in names if name.endswith(PICKLE_SUFFIXES))
        raise UnsupportedModel(
            f"{cache.hub_id} has no safetensors weights"
            + (f", only {pickles[0]}: {PICKLE_ADVICE}" if pickles else "; nothing can be converted")
        )
    wanted = _SMALL_FILES if "tokenizer.json" in names else (*_SMALL_FILES, *VOCABULARY_FILES)
    get([name for name in wanted if name in names])
    check_tokenizer_files(folder)
    modules = [module["path"] for module in embedder.read_modules(folder) if module["path"]]
    parts = [f"{module}/{file}" for module in modules for file in hub.MODULE_FILES]
    get([name for name in parts if name in names])
    shards = [SINGLE]
    if INDEX in names:
        get([INDEX])
        shards = _shards(folder / INDEX)
    missing = [name for name in shards if name not in names]
    if missing:
        raise UnsupportedModel(f"{cache.hub_id} has no {missing[0]}, which its index names")
    get(shards)
    return folder


def choose_gguf(hub_id: str, names: Collection[str], wanted: str | None) -> str:
    """The .gguf file that `wanted` names in full or by its quantisation; the best one for None.

    Of a model in several files it is the first. Raises `ModelNotFound` that lists what there is,
    `UnsupportedModel` for a model some of whose files are missing.
    """
    whole = {
        name: quantisation(name)
        for name in sorted(names)
        if name == part_names(name)[0] and not name.lower().startswith("mmproj")
    }
    for name in whole:
        missing = set(part_names(name)) - set(names)
        if missing:
            raise UnsupportedModel(f"{hub_id} has {name}, but not {min(missing)}, a part of it")
    if not whole:
        raise ModelNotFound(f"{hub_id} has no .gguf file" + (f" {wanted}" if wanted else ""))
    if wanted is None:
        ranked = [name for best in _BEST_GGUF for name in whole if whole[name] == best]
        if ranked or len(whole) == 1:
            return (ranked or list(whole))[0]
        raise ModelNotFound(f"{hub_id}: which file? {_choices(hub_id, whole)}")
    for name in whole:
        if is_file_called(name, wanted):
            return name
    raise ModelNotFound(f"{hub_id} has no file {wanted!r}; {_choices(hub_id, whole)}")


def choose_mmproj(names: Collection[str]) -> str | None:
    """The file with which the models of a repository see: of several the smallest good one."""
    found = {
        name: quantisation(name) for name in sorted(names) if name.lower().startswith("mmproj")
    }
    ranked = [name for best in _BEST_GGUF for name in found if found[name] == best]
    return next(iter([*ranked, *found]), None)


def _choices(hub_id: str, whole: dict[str, str]) -> str:
    shown = list(whole.values()) if len(set(whole.values())) == len(whole) else list(whole)
    return f"name one as {hub_id}:{shown[0]}; there are {', '.join(shown)}"


def _check_gguf_architecture(hub_id: str, architecture: str) -> None:
    from cactus.weights.sources.gguf.families import FAMILIES

    if architecture not in FAMILIES:
        raise UnsupportedModel(
            f"{hub_id}: its .gguf files are of the architecture {short(architecture)}, expected "
            f"one of {', '.join(sorted(FAMILIES))}"
        )


def _shards(index: Path) -> list[str]:
    """The files that the index spreads the tensors over; names that could leave the folder fail."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelFormatError(f'"{index}": weight_map is missing or empty')
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if not catalog.is_name(name) or not name.endswith(".safetensors"):
            raise ModelFormatError(f'"{index}": refusing the file name {short(name)}')
    if len({name.lower() for name in names}) < len(names):
        raise ModelFormatError(f'"{index}": two file names differ only in upper and lower case')
    return names
