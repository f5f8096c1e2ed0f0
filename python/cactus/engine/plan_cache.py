"""The plans that were made when a model was last loaded, kept in its weights folder.

A plan is only ever taken for the very code, configuration and tensors that it was made from, and
nothing depends on it: where it is missing, damaged or cannot be written, the plan is made anew.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cactus.errors import CactusError, ModelNotFound
from cactus.inputs.files import JSON_LIMIT, RegularFile

NAME = "plan.bin"
ENCODER = "plan-encoder.bin"
"""The names of plans in a folder: of what takes tokens, and of an encoder."""

_CODE = ("engine", "graph", "inputs", "models", "nn", "weights")
"""The rooms whose code decides what is in a plan."""
_FILES = ("speech/engine.py",)
"""Where the passes are put together."""
_LIMIT = 64 << 20
_MAGIC = b"CACTPLC1"
_HEAD = struct.Struct("<8s32s32s")  # magic, key, SHA-256 of what follows
_SIZES = struct.Struct("<QQ")  # context length, bytes of the architecture's name


@dataclass(frozen=True)
class StoredPlan:
    """The plan `blob` for the model's own `context_length`; `architecture` is its model_type."""

    architecture: str
    context_length: int
    blob: bytes


def _add(digest: hashlib._Hash, part: bytes | bytearray) -> None:
    digest.update(len(part).to_bytes(8, "little"))  # or two parts could be one
    digest.update(part)


def code_digest(package: Path) -> bytes | None:
    """A digest of the code that makes plans; None where the sources are not to be read."""
    digest = hashlib.sha256(sys.version.encode())
    try:
        for room in _CODE:
            sources = sorted((package / room).rglob("*.py"))
            if not sources:
                return None
            for path in sources:
                _add(digest, path.read_bytes())
        for name in _FILES:
            _add(digest, (package / name).read_bytes())
    except OSError:
        return None
    return digest.digest()


_PACKAGE = Path(__file__).parents[1]
# Of the code that this process runs: later the files may be those of another version.
_CODE_DIGEST = code_digest(_PACKAGE)


def key_of(folder: Path) -> bytes | None:
    """A digest of all that the folder's plan is made from; None where that cannot be read.

    That is the code, the configuration, and the names, types, shapes and places of the tensors.
    The numbers in the tensors are not part of a plan.
    """
    if _CODE_DIGEST is None:
        return None
    digest = hashlib.sha256(_CODE_DIGEST)
    try:
        for name in ("config.json", "chat_template.jinja"):
            _add(digest, _whole(folder / name))
        _add_header(digest, folder / "model.safetensors")
    except CactusError:  # whoever opens the file says what is wrong with it
        return None
    return digest.digest()


def read_plan(folder: Path, key: bytes, name: str = NAME) -> StoredPlan | None:
    """The plan that was stored under `key`; None where there is none, or it is damaged."""
    try:
        data = _whole(folder / name, _LIMIT)
    except CactusError:
        return None
    if len(data) < _HEAD.size + _SIZES.size:
        return None
    magic, stored_under, digest = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if (magic, stored_under, digest) != (_MAGIC, key, hashlib.sha256(body).digest()):
        return None
    context_length, length = _SIZES.unpack_from(body)
    end = _SIZES.size + length
    architecture = body[_SIZES.size : end].decode("utf-8", "replace")
    return StoredPlan(architecture, context_length, body[end:])


def write_plan(folder: Path, key: bytes, plan: StoredPlan, name: str = NAME) -> None:
    """Store a plan under `key`, whole or not at all.

    A folder that cannot be written stays as it is, and so does every one after the code on the disk
    has become another than the one that runs here.
    """
    if code_digest(_PACKAGE) != _CODE_DIGEST:
        return
    architecture = plan.architecture.encode()
    body = _SIZES.pack(plan.context_length, len(architecture)) + architecture + plan.blob
    data = _HEAD.pack(_MAGIC, key, hashlib.sha256(body).digest()) + body
    partial = folder / f".{name}.{secrets.token_hex(8)}.part"
    try:
        with partial.open("xb") as file:
            file.write(data)
        os.replace(partial, folder / name)
    except OSError:
        with suppress(OSError):
            partial.unlink()


def _whole(path: Path, limit: int = JSON_LIMIT) -> bytes:
    """A file's bytes; none where there is no file."""
    try:
        file = RegularFile(path)
    except ModelNotFound:
        return b""
    try:
        return bytes(file.read(0, min(file.size, limit)))
    finally:
        file.close()


def _add_header(digest: hashlib._Hash, path: Path) -> None:
    """What a safetensors file says of its tensors, and its size."""
    file = RegularFile(path)
    try:
        length = min(int.from_bytes(file.read(0, 8), "little"), JSON_LIMIT)
        _add(digest, file.read(8, length))
        digest.update(file.size.to_bytes(8, "little"))
    finally:
        file.close()
