"""Asking the Hugging Face hub what a repository holds, at which commit, and with which token."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from cactus.errors import DownloadError, InvalidRequest, ModelNotFound
from cactus.inputs.checks import short
from cactus.inputs.text import reason_of
from cactus.weights import catalog
from cactus.weights.hub.fetch import AccessError, OfflineError, retry_after, wait_before

TRIES = 5
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
MODULE_FILES = ("config.json", "model.safetensors")
"""What a module of sentence-transformers may have in its folder."""

_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,199}")


@dataclass(frozen=True)
class HubFile:
    """A file at the top of a repository, or of a module in a folder of its own.

    It is known by the SHA-256 of its bytes, or by git's SHA-1 where it is small; `blob` is the one
    that names it in the hub's cache.
    """

    name: str
    size: int | None
    sha256: str | None
    git_oid: str | None

    @property
    def blob(self) -> str | None:
        return self.sha256 or self.git_oid


@dataclass(frozen=True)
class Repository:
    """What the hub says of a model at one commit; `gguf` is the architecture of its .gguf files."""

    hub_id: str
    commit: str
    files: Mapping[str, HubFile]
    gguf: str | None = None


def is_offline() -> bool:
    """Whether the environment forbids the hub (``HF_HUB_OFFLINE``)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def check_revision(revision: str) -> None:
    """Raises `InvalidRequest` for what cannot be a branch, a tag or a commit."""
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise InvalidRequest(
            f"revision is {short(revision)}, expected the name of a branch or tag, or a commit"
        )


def find_token(token: str | None) -> str | None:
    """The token that was given, else that of the environment or of a login on this machine."""
    from huggingface_hub import get_token

    return token or get_token()


def file_url(repository: Repository, name: str) -> str:
    """Where a file's bytes are, at this very commit."""
    return f"{_endpoint()}/{repository.hub_id}/resolve/{repository.commit}/{quote(name)}"


def ask(hub_id: str, revision: str | None, token: str | None) -> Repository:
    """What the repository holds at `revision` (None: its main branch).

    Asks again, with pauses, while the hub is busy. Raises `ModelNotFound`, `OfflineError` or
    `DownloadError` that say what to do.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    # Otherwise each request tells the hub about the program around us, and asks for a list first.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    api = HfApi(endpoint=_given_endpoint(), token=token)
    for attempt in range(1, TRIES + 1):
        try:
            info = api.model_info(hub_id, revision=revision, files_metadata=True, timeout=30)
            break
        except HfHubHTTPError as error:
            if error.response.status_code not in _BUSY or attempt == TRIES:
                raise _refused(api, hub_id, revision, token, error) from error
            time.sleep(wait_before(attempt, retry_after(error.response.headers)))
        except Exception as error:  # the transport errors of whichever HTTP library the hub's uses
            raise _unreachable(hub_id, error) from error
    if not info.sha or not catalog.is_name(info.sha):
        raise DownloadError(f"{hub_id}: the hub names no commit")
    files = {}
    for sibling in info.siblings or []:
        name, sha256 = sibling.rfilename, sibling.lfs.sha256 if sibling.lfs else None
        if catalog.is_name(name) or _is_of_module(name):
            files[name] = HubFile(name, sibling.size, _hex(sha256, 64), _hex(sibling.blob_id, 40))
    gguf = (getattr(info, "gguf", None) or {}).get("architecture")
    return Repository(hub_id, info.sha, files, gguf if isinstance(gguf, str) else None)


def _is_of_module(name: str) -> bool:
    """Whether a file is of a module of sentence-transformers, which lies in a folder of its own."""
    folder, _, file = name.partition("/")
    return catalog.is_name(folder) and file in MODULE_FILES


def explain_refusal(hub_id: str, token: str | None, error: AccessError) -> DownloadError:
    """A refused file, in the words of what the user has to do for this model."""
    page = f"{_endpoint()}/{hub_id}"
    if token is None:
        return DownloadError(
            f"{hub_id} is gated or private: accept its terms at {page}, then give a token of "
            f"that account with --token or HF_TOKEN ({error})"
        )
    if error.status == 401:
        return DownloadError(
            f"{hub_id}: the hub does not accept this token; make a new one in the settings of "
            f"{_endpoint()} ({error})"
        )
    return DownloadError(
        f"{hub_id} is gated, and the account of this token has no access yet: accept its terms "
        f"at {page} ({error})"
    )


def _given_endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT") or None


def _endpoint() -> str:
    from huggingface_hub import constants

    return (_given_endpoint() or constants.ENDPOINT).rstrip("/")


def _hex(text: str | None, length: int) -> str | None:
    """A digest that may become a file's name: `length` hexadecimal digits, or None."""
    return text if text and re.fullmatch(f"[0-9a-f]{{{length}}}", text) else None


def _refused(
    api: Any, hub_id: str, revision: str | None, token: str | None, error: Any
) -> DownloadError | ModelNotFound:
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    status = error.response.status_code
    if isinstance(error, RevisionNotFoundError):
        return ModelNotFound(f"{hub_id} has no revision {revision!r}{_revisions(api, hub_id)}")
    if isinstance(error, GatedRepoError):
        return explain_refusal(hub_id, token, AccessError(f"answer {status}", status))
    if isinstance(error, RepositoryNotFoundError):
        hint = "then give --token or HF_TOKEN" if token is None else "to others than this token's"
        return ModelNotFound(
            f"no model {hub_id} on the hub, or it is private ({hint}){_nearest(hub_id)}"
        )
    if status == 401:
        return explain_refusal(hub_id, token, AccessError("answer 401", 401))
    if status == 429:
        return DownloadError(
            f"{hub_id}: the hub has had too many requests from here (429); wait some minutes"
            + ("" if token else ", or give a token (--token, HF_TOKEN), which is allowed more")
        )
    first = (str(error).strip() or f"status {status}").splitlines()[0]
    return DownloadError(f"{hub_id}: the hub answered: {first}")


def _revisions(api: Any, hub_id: str) -> str:
    """What could have been meant, where the hub says it."""
    try:
        refs = api.list_repo_refs(hub_id)
    except Exception:  # the message is about something else
        return ""
    names = [ref.name for ref in (*refs.branches, *refs.tags)][:10]
    return f"; branches and tags: {', '.join(names)}" if names else ""


def _nearest(hub_id: str) -> str:
    """The models that an unknown id could have meant, as the end of a message."""
    if catalog.find(hub_id) is not None:
        return ""
    close = catalog.suggest(hub_id, [entry.hub_id for entry in catalog.CATALOG])
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _unreachable(hub_id: str, error: BaseException) -> DownloadError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (socket.gaierror, ConnectionError, TimeoutError)):
            return OfflineError(
                f"{hub_id}: no way to the hub ({reason_of(cause)}): this machine seems to "
                f"be offline; models that are here already work, see cactus list{_nearest(hub_id)}"
            )
        cause = cause.__cause__ or cause.__context__
    return DownloadError(f"{hub_id}: the hub cannot be asked: {reason_of(error)}")
