"""What users type for a model of the hub: an id, an address, a file or a revision of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from cactus.weights import catalog

_ADDRESS = re.compile(
    r"(?:https?://(?:www\.)?(?:huggingface\.co|hf\.co)|huggingface\.co|hf\.co|hf:/)/+(?P<rest>.*)",
    re.IGNORECASE,
)
_MAIN = "main"


@dataclass(frozen=True)
class HubName:
    """A model of the hub. `file`: a .gguf file, or what it is quantised to; None: not said.

    `revision`: a branch, tag or commit; None is the main branch.
    """

    hub_id: str
    file: str | None = None
    revision: str | None = None


def is_address(text: str) -> bool:
    """Whether `text` is meant as an address of the hub, whatever stands there."""
    return _ADDRESS.fullmatch(text.strip()) is not None


def parse_hub_name(text: str) -> HubName | None:
    """The model of the hub that `text` names, or None.

    These are ``owner/name``, ``owner/name:Q4_K_M``, and the addresses of such a repository
    (``https://huggingface.co/owner/name``, ``hf.co/owner/name``, ``hf://owner/name@revision``)
    with ``/tree/revision`` or ``/blob/revision/file.gguf`` behind them.
    """
    address = _ADDRESS.fullmatch(text.strip())
    if address is None:
        return _with_file(text, None)
    path = unquote(re.split(r"[?#]", address["rest"])[0]).strip("/").removeprefix("models/")
    owner, _, rest = path.partition("/")
    name, _, rest = rest.partition("/")
    name, at, revision = name.partition("@")
    if at:
        return _with_file(f"{owner}/{name}", revision, rest)
    view, _, rest = rest.partition("/")
    if view == "tree" and rest:
        return _with_file(f"{owner}/{name}", rest)
    if view in ("blob", "resolve") and "/" in rest:
        revision, _, file = rest.rpartition("/")
        return _with_file(f"{owner}/{name}", revision, file)
    return None if view else _with_file(f"{owner}/{name}", None)


def _with_file(text: str, revision: str | None, file: str = "") -> HubName | None:
    hub_id, colon, wanted = text.partition(":")
    if file.lower().endswith(".gguf"):  # the page of another file means the repository
        wanted, colon = file, ":"
    if not catalog.is_hub_id(hub_id) or (colon and not catalog.is_name(wanted)):
        return None
    return HubName(hub_id, wanted or None, None if revision == _MAIN else revision or None)


def is_file_called(name: str, wanted: str) -> bool:
    """Whether a .gguf file is the one that a user means by its name or by its quantisation."""
    return wanted.lower() in (name.lower(), quantisation(name).lower())


def quantisation(name: str) -> str:
    """ "Q4_K_M" of "Model-1B-Q4_K_M.gguf": what follows the last dash or dot, in upper case.

    The number of a part, as in "Model-1B-Q4_K_M-00001-of-00003.gguf", is left out.
    """
    return re.split(r"[-.]", re.sub(r"(-\d{5}-of-\d{5})?\.gguf$", "", name, flags=re.I))[-1].upper()


def name_of_checkpoint(path: Path) -> str:
    """What a checkpoint is called: as its folder or file, but in the hub's cache as its repository.

    There the folder of ``owner/name`` is ``models--owner--name/snapshots/<commit>``.
    """
    home = path.parent.parent.name
    if path.parent.name == "snapshots" and home.startswith("models--"):
        return home.rpartition("--")[2]
    return path.name


def is_part(part: str, name: str) -> bool:
    """Whether `part` is a beginning of a word of `name`, as "small" of "whisper-small"."""
    return re.search(rf"(?:^|[-._]){re.escape(part.lower())}", name.lower()) is not None
