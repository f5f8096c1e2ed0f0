"""Finding and loading the shared library, and turning its status codes into exceptions."""

from __future__ import annotations

import ctypes
import functools
import sys
from pathlib import Path
from typing import Any, NamedTuple

from ..compat import refuse_subinterpreters
from ..errors import (
    CactusError,
    Cancelled,
    ForkError,
    InsufficientMemory,
    InvalidRequest,
    ModelClosed,
    ModelFormatError,
    NativeError,
    NonFiniteLogits,
)
from . import _signatures as abi

LIBRARY_NAME = {"darwin": "libcactus.dylib", "win32": "cactus.dll"}.get(
    sys.platform, "libcactus.so"
)

_ERRORS: dict[int, type[CactusError]] = {
    abi.ERROR_ARGUMENT: InvalidRequest,
    abi.ERROR_HANDLE: ModelClosed,
    abi.ERROR_PLAN: NativeError,
    abi.ERROR_FILE: ModelFormatError,
    abi.ERROR_MEMORY: InsufficientMemory,
    abi.ERROR_CONTEXT: InvalidRequest,
    abi.ERROR_NONFINITE: NonFiniteLogits,
    abi.ERROR_FORKED: ForkError,
    abi.ERROR_ISA: NativeError,
    abi.ERROR_CANCELLED: Cancelled,
}


def library_path() -> Path:
    """Where the shared library lies; NativeError with the way to build it if it is nowhere."""
    # An editable install has two folders: the sources and the one that the build installed into.
    folders = sys.modules[__name__.rpartition(".")[0]].__path__
    for folder in folders:
        path = Path(folder) / LIBRARY_NAME
        if path.exists():
            return path
    raise NativeError(
        f"the native library {LIBRARY_NAME} is not in {', '.join(folders)}; "
        "run `cactus build --python` in a checkout, or install the package again"
    )


@functools.cache
def load() -> Any:
    """The library with its signatures set; NativeError if it is missing, of another version, or not
    for this interpreter.
    """
    refuse_subinterpreters()
    path = library_path()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeError(f"{path} cannot be loaded: {error}") from None
    try:
        for name, (result, arguments) in abi.FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        version = library.cactus_abi_version()
    except AttributeError as error:
        raise NativeError(f"{path}: {error}; build it again: `cactus build --python`") from None
    if version != abi.ABI_VERSION:
        raise NativeError(
            f"{path} has interface version {version}, this package needs {abi.ABI_VERSION}; "
            "build it again: `cactus build --python`"
        )
    return library


def check(status: int) -> None:
    """Raises the exception of a status code, with the core's message."""
    if status != abi.OK:
        message = load().cactus_last_error().decode("utf-8", "replace")
        raise _ERRORS.get(status, NativeError)(message)


class MachinePeaks(NamedTuple):
    """What a machine can do at most: reading memory in bytes/s, arithmetic in operations/s.

    A multiply-add is two operations. ``buffer_bytes`` is what was read again and again.
    """

    isa: str
    threads: int
    buffer_bytes: int
    bytes_per_second: float
    int8_per_second: float
    float_per_second: float


def machine_peaks(
    threads: int | None = None, isa: str | None = None, buffer_bytes: int | None = None
) -> MachinePeaks:
    """Measure for about a second with ``threads`` threads and the instructions of tier ``isa``.

    The defaults are those of Program, and a buffer of 512 MiB. Raises InvalidRequest, NativeError
    for a tier that does not work here, InsufficientMemory.
    """
    library = load()
    peaks = abi.MachinePeaks(size=ctypes.sizeof(abi.MachinePeaks))
    name = isa.encode() if isa else None
    check(library.cactus_machine_peaks_get(threads or 0, name, buffer_bytes or 0, peaks))
    return MachinePeaks(
        peaks.isa.decode(),
        peaks.threads,
        peaks.buffer_bytes,
        peaks.bytes_per_second,
        peaks.int8_per_second,
        peaks.float_per_second,
    )


def available_isas() -> tuple[str, ...]:
    """Names of the kernel tiers that this CPU can run, the plainest first."""
    library = load()
    bits = library.cactus_isa_available()
    names = (library.cactus_isa_name(i).decode() for i in range(32) if bits >> i & 1)
    return tuple(names)
