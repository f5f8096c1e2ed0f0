"""The plans that were made when a model was last loaded, kept in its weights folder.

A plan is only ever taken for the very code, configuration and tensors that it was made from, and
nothing depends on it: where it is missing, damaged or cannot be written, the plan is made anew.
"""

from __future__ import annotations

import hashlib
import logging
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cactus.errors import CactusError, ModelNotFound
from cactus.inputs.files import JSON_LIMIT, RegularFile, replace_file

log = logging.getLogger("cactus.engine")

_CODE = ("engine", "graph", "inputs", "models", "nn", "weights")
"""The rooms whose code decides what is in a plan."""
_PARTS = "*/parts.py"
"""Where rooms above say what graphs are made of a model."""
_LIMIT = 64 << 20
_MAGIC = b"CACTPLC3"
_HEAD = struct.Struct("<8s32s32s")  # magic, key, SHA-256 of what follows
# Context length, bytes of the architecture's name, buffers to read, whether texts are whole.
_SIZES = struct.Struct("<QQQQ")


@dataclass(frozen=True)
class StoredPlan:
    """The plan `blob` for the model's own `context_length`; `architecture` is its model_type.

    `reads` are the buffers of the graph's further outputs, in their order; `whole_texts`: a row
    sees all of its text, which one step must then hold.
    """

    architecture: str
    context_length: int
    blob: bytes
    reads: tuple[int, ...] = ()
    whole_texts: bool = False


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
        for path in sorted(package.glob(_PARTS)):
            _add(digest, path.read_bytes())
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


def read_plan(folder: Path, key: bytes, name: str, also: bytes = b"") -> StoredPlan | None:
    """The plan that was stored as `name` under `key`; None where there is none, or it is damaged.

    `also` is what it was made from besides.
    """
    try:
        data = _whole(folder / name, _LIMIT)
    except CactusError:
        return None
    if len(data) < _HEAD.size + _SIZES.size:
        return None
    magic, stored_under, digest = _HEAD.unpack_from(data)
    body = data[_HEAD.size :]
    if (magic, stored_under) != (_MAGIC, _under(key, also)):
        log.info("%s: of another version of cactus or other weights; made again", folder / name)
        return None
    if digest != hashlib.sha256(body).digest():
        return None
    context_length, length, count, whole_texts = _SIZES.unpack_from(body)
    named, end = _SIZES.size + length, _SIZES.size + length + 4 * count
    if end > len(body):
        return None
    architecture = body[_SIZES.size : named].decode("utf-8", "replace")
    reads = struct.unpack(f"<{count}I", body[named:end])
    return StoredPlan(architecture, context_length, body[end:], reads, bool(whole_texts))


def write_plan(folder: Path, key: bytes, plan: StoredPlan, name: str, also: bytes = b"") -> None:
    """Store a plan as `name` under `key`, whole or not at all.

    A folder that cannot be written stays as it is, and so does every one after the code on the disk
    has become another than the one that runs here.
    """
    if code_digest(_PACKAGE) != _CODE_DIGEST:
        return
    architecture = plan.architecture.encode()
    sizes = (plan.context_length, len(architecture), len(plan.reads), plan.whole_texts)
    body = _SIZES.pack(*sizes)
    body += architecture + struct.pack(f"<{len(plan.reads)}I", *plan.reads) + plan.blob
    data = _HEAD.pack(_MAGIC, _under(key, also), hashlib.sha256(body).digest()) + body
    with suppress(OSError):
        replace_file(folder / name, data)


def _under(key: bytes, also: bytes) -> bytes:
    return hashlib.sha256(key + also).digest() if also else key


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
