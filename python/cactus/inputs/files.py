"""Opening and reading files that nobody vouches for.

Every file of a model is read through `RegularFile`, `read_bytes` and `read_json`: nothing blocks,
nothing is mapped, and no size is believed before it has been compared with the file. `find_bytes`
and `find_json` are the same for files that need not be there. `open_regular` opens what a caller
names. `replace_file` writes one whole. Within `naming` an error of the system names the file.
"""

from __future__ import annotations

import json
import os
import re
import stat
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from cactus.errors import (
    CactusError,
    InvalidRequest,
    ModelFormatError,
    ModelNotFound,
    UnsupportedModel,
)
from cactus.inputs.checks import short
from cactus.inputs.partial import begin, end, sweep_once
from cactus.inputs.text import cut, reason_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_Parsed = TypeVar("_Parsed")

GGUF_MAGIC = b"GGUF"

JSON_LIMIT = 16 << 20
"""Bytes of a JSON file that are parsed at most; the index of a model of 92,000 tensors has 9 MB."""


class UnreadableFile(ModelFormatError):
    """The system could not read a file, which may be right: it is not remembered as wrong."""


class RegularFile:
    """A regular file opened for reading: `path`, `size` in bytes, and `read` by offset.

    Reads copy (`pread`) instead of mapping, so a file that another process shrinks is a
    `ModelFormatError` and never a SIGBUS; a file that is replaced by a rename stays readable.

    Raises `ModelNotFound` when nothing is there and `ModelFormatError` for a directory, FIFO,
    device or unreadable file; never blocks on any of them.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        # Without O_NONBLOCK, opening a FIFO waits for a writer that may never come.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(self.path, flags)
        except FileNotFoundError:
            raise ModelNotFound(f"{self.path}: no such file") from None
        except (OSError, ValueError) as error:
            raise UnreadableFile(f"{self.path}: cannot be opened: {reason_of(error)}") from None
        self._close = weakref.finalize(self, os.close, descriptor)
        self._descriptor = descriptor
        self._seeking = threading.Lock()
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise ModelFormatError(
                f"{self.path}: is {file_kind(status.st_mode)}, expected a regular file"
            )
        self.size = status.st_size

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._close()

    def array(self, offset: int, size: int) -> NDArray[np.uint8]:
        """`read` as an array uint8 [size]."""
        # Opening a model needs no arrays, and NumPy takes a while to import.
        import numpy as np

        return np.frombuffer(self.read(offset, size), np.uint8)

    def read(self, offset: int, size: int) -> bytearray:
        """Copy `size` bytes from `offset`.

        Raises `ModelFormatError` when the range is not (or no longer) inside the file.
        """
        if offset < 0 or size < 0 or offset + size > self.size:
            raise ModelFormatError(
                f"{self.path}: bytes {offset}..{offset + size} asked of a file of {self.size} bytes"
            )
        out = bytearray(size)
        view = memoryview(out)
        done = 0
        while done < size:
            # One call moves at most 2 GiB on Linux, hence the loop.
            piece = view[done : done + (1 << 30)]
            try:
                count = self._read_into(piece, offset + done)
            except OSError as error:
                raise UnreadableFile(
                    f"{self.path}: cannot be read at byte {offset + done}: {reason_of(error)}"
                ) from None
            if count == 0:
                raise ModelFormatError(
                    f"{self.path}: ends at byte {offset + done}, expected {self.size} bytes; "
                    "it was cut while being read"
                )
            done += count
        return out

    def _read_into(self, piece: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._descriptor, [piece], offset)
        with self._seeking:  # Windows reads where the file stands
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            data = os.read(self._descriptor, len(piece))
        piece[: len(data)] = data
        return len(data)


def open_with(parse: Callable[[RegularFile], _Parsed], path: Path | str) -> _Parsed:
    """What `parse` makes of a file; its errors name the file, which is closed then.

    Raises `ModelNotFound`, and what `parse` raises.
    """
    file = RegularFile(path)
    try:
        return parse(file)
    except (ModelFormatError, UnsupportedModel) as error:
        file.close()
        if str(error).startswith(str(path)):
            raise
        raise type(error)(f"{path}: {error}") from None


def is_gguf(path: Path) -> bool:
    """Whether a file begins as GGUF files do, whatever its name is."""
    try:
        file = RegularFile(path)
    except CactusError:
        return False
    try:
        return bytes(file.read(0, min(file.size, len(GGUF_MAGIC)))) == GGUF_MAGIC
    except ModelFormatError:
        return False
    finally:
        file.close()


def file_kind(mode: int) -> str:
    """What the file of a `st_mode` is, with its article."""
    for test, name in (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return name
    return "a special file"


def open_regular(path: str | bytes, what: str, wrong: type[CactusError]) -> tuple[IO[bytes], str]:
    """A regular file that a caller named, and what to call it in messages; waits for nobody.

    Raises `wrong`; `what` is what the file should be, as in "the path of the image".
    """
    path = os.fsdecode(path)
    name = quoted(path)
    if not path:
        raise wrong(f"the path of the {what} is empty")
    # Without O_NONBLOCK, opening a FIFO waits for a writer that may never come.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(os.path.expanduser(path), flags)
    except FileNotFoundError:
        raise wrong(f"{name}: no such file") from None
    except (OSError, ValueError) as error:
        raise wrong(f"{name}: cannot be opened: {reason_of(error)}") from None
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a directory" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise wrong(f"{name} is {kind}, expected a regular file")
    return os.fdopen(descriptor, "rb"), name


def quoted(path: str) -> str:
    """A path for messages, cut where it is long."""
    return f'"{cut(path, 300)}"'


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(text: bytes, where: str) -> Any:
    """Parse strict JSON: UTF-8, no duplicate key, NaN, Infinity or half surrogate, bounded depth.

    `where` starts every error message. Raises `ModelFormatError`.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            seen: set[str] = set()
            for key, _ in items:
                if key in seen:
                    raise ModelFormatError(f"{where}: the key {short(key)} occurs twice")
                seen.add(key)
        return result

    def constant(name: str) -> Any:
        raise ModelFormatError(f"{where}: {name} is not JSON")

    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
        if _SURROGATE.search(text):
            # Half of a pair cannot be written as UTF-8 again; only the encoder can tell.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except RecursionError:
        raise ModelFormatError(f"{where}: JSON is nested too deeply") from None
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, integers of 5,000 digits
        raise ModelFormatError(f"{where}: not valid JSON: {cut(str(error), 200)}") from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of at most `JSON_LIMIT` bytes; raises `ModelFormatError`."""
    return parse_object(read_bytes(path, JSON_LIMIT), str(path))


def parse_object(text: bytes, where: str) -> dict[str, Any]:
    """`parse_json` for a text that has to be an object."""
    value = parse_json(text, where)
    if not isinstance(value, dict):
        raise ModelFormatError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value


def read_bytes(path: Path, limit: int) -> bytes:
    """Read a whole regular file of at most `limit` bytes; raises `ModelFormatError`."""
    file = RegularFile(path)
    try:
        if file.size > limit:
            raise ModelFormatError(f"{path}: {file.size} bytes, expected at most {limit}")
        return bytes(file.read(0, file.size))
    finally:
        file.close()


def find_json(path: Path) -> dict[str, Any] | None:
    """`read_json`, or None where there is no such file."""
    data = find_bytes(path, JSON_LIMIT)
    return None if data is None else parse_object(data, str(path))


def find_bytes(path: Path, limit: int) -> bytes | None:
    """`read_bytes`, or None where there is no such file; what else is there is an error."""
    try:
        return read_bytes(path, limit)
    except ModelNotFound:
        return None


def read_text(path: Path, limit: int) -> str:
    """A text that somebody wants read, in UTF-8, of at most `limit` bytes.

    Raises `InvalidRequest` for other bytes and for nothing but spaces, and what `read_bytes` does.
    """
    try:
        text = read_bytes(path, limit).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path}: byte {error.start} is not UTF-8; expected a text") from None
    if not text.strip():
        raise InvalidRequest(f"{path}: the file is empty; expected a text")
    return text


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError of what is done here names the file: reads and writes of open files do not."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def replace_file(path: Path, data: bytes, *, mode: int = 0o666, durable: bool = False) -> None:
    """Write a file in one go: it has all of `data` in the end, or stays as it was.

    `durable`: on the disk before it takes the old one's place. Raises OSError.
    """
    sweep_once(path.parent)
    partial = begin(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with naming(path), open(os.open(partial, flags, mode), "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        end(partial)
