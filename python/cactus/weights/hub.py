"""A model's files from the Hugging Face hub: configuration, tokenizer and safetensors, no more.

`huggingface_hub` answers what a repository holds and with which token; the files come through
`cactus.weights.fetch`, so that they resume, are verified and show progress like all others.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cactus.errors import DownloadError, ModelFormatError, ModelNotFound, UnsupportedModel
from cactus.weights import catalog
from cactus.weights.checkpoint import INDEX, SINGLE
from cactus.weights.fetch import Fetch, OfflineError, check_space
from cactus.weights.locate import Progress

_SMALL_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
)


def is_offline() -> bool:
    """Whether the environment forbids the hub (``HF_HUB_OFFLINE``)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def snapshot(
    hub_id: str,
    folder: Path,
    *,
    token: str | None = None,
    progress: Progress | None = None,
    accept: Callable[[dict[str, Any]], object] | None = None,
) -> str:
    """Fetches the files of `hub_id` that a conversion needs into `folder`; returns the commit.

    `accept` sees config.json before the large files are fetched and raises where the model cannot
    be used. Raises `ModelNotFound`, `UnsupportedModel`, `ModelFormatError` or `DownloadError`.
    """
    from huggingface_hub import get_token, hf_hub_url

    token = token or get_token()
    commit, files = _list_files(hub_id, token)
    endpoint = os.environ.get("HF_ENDPOINT") or None
    headers = {"Authorization": f"Bearer {token}"} if token else {}

    def get(names: list[str]) -> None:
        absent = [name for name in names if not (folder / name).exists()]
        check_space(folder, sum(files[name][0] or 0 for name in absent), hub_id)
        for name in names:
            size, sha256 = files[name]
            url = hf_hub_url(hub_id, name, revision=commit, endpoint=endpoint)
            Fetch(url, folder / name, size, sha256, headers, progress=progress).run()

    folder.mkdir(parents=True, exist_ok=True)
    if "config.json" not in files:
        raise UnsupportedModel(f"{hub_id} has no config.json; it is not a transformers checkpoint")
    get(["config.json"])
    if accept is not None:
        accept(_read_object(folder / "config.json"))
    get([name for name in _SMALL_FILES if name in files and name != "config.json"])
    if INDEX in files:
        get([INDEX])
        shards = _shards(folder / INDEX)
    else:
        shards = [SINGLE]
    missing = [name for name in shards if name not in files]
    if missing:
        raise UnsupportedModel(
            f"{hub_id} has no {missing[0]}; only safetensors weights are read "
            "(a .gguf file is used as it is: cactus run FILE.gguf)"
        )
    get(shards)
    return commit


def _list_files(
    hub_id: str, token: str | None
) -> tuple[str, dict[str, tuple[int | None, str | None]]]:
    """The commit and, per file at the top of the repository, its size and SHA-256."""
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    # Otherwise each request tells the hub about the program around us, and asks for a list first.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        info = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token).model_info(
            hub_id, files_metadata=True, timeout=30
        )
    except GatedRepoError as error:
        raise DownloadError(
            f"{hub_id} is gated: accept its terms on its page, then give --token or HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        known = [entry.hub_id for entry in catalog.CATALOG]
        close = catalog.suggest(hub_id, known)
        raise ModelNotFound(
            f"no model {hub_id} on the hub, or it is private (then give --token or HF_TOKEN)"
            + (f"; did you mean {' or '.join(close)}?" if close else "")
        ) from error
    except HfHubHTTPError as error:
        raise DownloadError(f"{hub_id}: the hub answered: {error}") from error
    except Exception as error:  # the transport errors of whichever HTTP library the hub's uses
        raise _unreachable(hub_id, error) from error
    files = {
        sibling.rfilename: (sibling.size, sibling.lfs.sha256 if sibling.lfs else None)
        for sibling in info.siblings or []
        if catalog.is_name(sibling.rfilename)
    }
    if not info.sha or not catalog.is_name(info.sha):
        raise DownloadError(f"{hub_id}: the hub names no commit")
    return info.sha, files


def _unreachable(hub_id: str, error: BaseException) -> DownloadError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            return OfflineError(
                f"{hub_id}: no way to the hub ({cause.strerror}): this machine seems to be "
                "offline; models that are here already work, see cactus list"
            )
        cause = cause.__cause__ or cause.__context__
    return DownloadError(f"{hub_id}: the hub cannot be asked: {error or type(error).__name__}")


def _shards(index: Path) -> list[str]:
    """The files that the index spreads the tensors over; names that could leave the folder fail."""
    weight_map = _read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelFormatError(f'"{index}": weight_map is missing or empty')
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if not catalog.is_name(name) or not name.endswith(".safetensors"):
            raise ModelFormatError(f'"{index}": refusing the file name {name[:80]!r}')
    if len({name.lower() for name in names}) < len(names):
        raise ModelFormatError(f'"{index}": two file names differ only in upper and lower case')
    return names


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f'"{path}" is not valid JSON: {error}') from error
    if not isinstance(value, dict):
        raise ModelFormatError(f'"{path}" should hold a JSON object')
    return value
