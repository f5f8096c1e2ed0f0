"""What a model takes of the memory, and what it costs where it does not fit."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

from cactus.compat import Unpack
from cactus.engine.options import LoadArguments, LoadOptions
from cactus.engine.programs import TOKENS, Programs
from cactus.errors import InsufficientMemory
from cactus.inputs.files import find_json
from cactus.machine import available_bytes, can_reserve
from cactus.models.uses import abilities_of
from cactus.weights.locate import name_of

log = logging.getLogger("cactus.engine")

HEADROOM = 64 << 20
"""Address space in bytes for threads' stacks, buffers and the first of the KV cache."""

PIECE, PIECES = 4 << 20, 16
"""Bytes at a time, and times, that the disk is asked for to know how fast it is."""


@dataclass(frozen=True)
class Fit:
    """Bytes of memory that a model takes.

    `weights` are those of its file, which the system may give up and read again. `working` is what
    its tokenizer and buffers take beside, about. `position_bytes` are the keys and values of one
    token, of which a conversation has at most `context_length`.
    """

    weights: int
    working: int
    position_bytes: int
    context_length: int

    @property
    def least(self) -> int:
        """With one conversation as long as it can be."""
        return self.weights + self.working + self.position_bytes * self.context_length

    def tokens_in(self, memory: int) -> int:
        """How many tokens can be remembered where so much memory is left."""
        left = memory - self.weights - self.working
        return max(0, left) // max(1, self.position_bytes)


def fit(folder: Path, **arguments: Unpack[LoadArguments]) -> Fit:
    """What the model in a weights folder would take with some options of `Model`.

    Raises ModelFormatError, UnsupportedModel, InvalidRequest.
    """
    from cactus.graph.work import read_work

    options = LoadOptions(**arguments)
    config = find_json(folder / "config.json") or {}
    programs = Programs(folder, str(config.get("model_type", "")), options)
    plan = programs.plan(TOKENS)
    blob = options.apply(plan.blob, plan.whole_texts)
    remembers = "complete" in abilities_of(config)
    return Fit(
        weights=(folder / "model.safetensors").stat().st_size,
        working=_tokenizer(folder) + HEADROOM,
        position_bytes=read_work(blob).position_bytes if remembers else 0,
        context_length=options.context_of(plan.context_length),
    )


def prepare(folder: Path, draft: Path | None = None, *, resident: bool = False) -> None:
    """See that a model and its draft can be loaded, and ask the disk for them while Python works.

    The tokenizer's library ends the whole process when an allocation fails, so there must be
    address space for it, too. Weights beyond the memory that is free are read from the disk again
    as they are needed: the log says at which speed. `resident` ones are not, and the core sees
    whether they fit. Raises InsufficientMemory where there is no address space.
    """
    folders = [folder] if draft is None else [folder, draft]
    files = [each / "model.safetensors" for each in folders]
    weights = sum(map(_size, files))
    need = weights + sum(map(_tokenizer, folders)) + HEADROOM
    names = " and its draft ".join(map(name_of, folders))
    sizes = f"{names}: {weights / 2**20:,.0f} MiB of weights"
    without = "" if draft is None else ", leave the draft out"
    instead = f"take a smaller model{without}, or convert it with a smaller --precision"
    if not can_reserve(need):
        missing = f"{need / 2**20:,.0f} MiB of address space are not there (see ulimit -v)"
        raise InsufficientMemory(f"{sizes}, and {missing}; {instead}")
    free = available_bytes()
    if resident or free is None or weights <= free:
        for file in files:
            _read_ahead(file)
        return
    rate = disk_rate(files[0])
    speed = "" if rate is None else f", at {rate / 1e6:,.0f} MB/s or {weights / rate:.2g} s a step"
    log.warning(
        f"{sizes}, and {free / 2**20:,.0f} MiB of memory are free: what does not fit is read from "
        f"the disk again for each step{speed}; {instead}"
    )


def disk_rate(path: Path) -> float | None:
    """Bytes a second that the disk gives of a file, by pieces of it; None where it cannot be told.

    What of these pieces is in memory leaves it, where nobody uses it.
    """
    if not hasattr(os, "posix_fadvise") or not path.is_file():
        return None
    size, read, seconds = _size(path), 0, 0.0
    with path.open("rb", buffering=0) as file:
        for index in range(PIECES):
            at = size * index // PIECES // PIECE * PIECE
            os.posix_fadvise(file.fileno(), at, PIECE, os.POSIX_FADV_DONTNEED)
            start = time.perf_counter()
            read += len(os.pread(file.fileno(), PIECE, at))
            seconds += time.perf_counter() - start
    return read / seconds if read else None


def _tokenizer(folder: Path) -> int:
    """What the tokenizer's library takes, about."""
    return 8 * _size(folder / "tokenizer.json")


def _read_ahead(path: Path) -> None:
    advise = getattr(os, "posix_fadvise", None)
    if advise is None or not path.is_file():
        return
    with path.open("rb") as file:
        advise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # whoever reads it says what is wrong with it
        return 0
