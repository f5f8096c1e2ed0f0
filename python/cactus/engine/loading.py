"""What loading a text model and a speech model have in common: options, memory, plans."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar

from cactus.engine.plan_cache import StoredPlan, key_of, read_plan, write_plan
from cactus.errors import CactusError, InsufficientMemory, InvalidRequest
from cactus.inputs.checks import boolean, integer
from cactus.machine import can_reserve, choose_threads, memory_bytes
from cactus.weights.locate import name_of

if TYPE_CHECKING:
    from cactus.graph.node import Graph
    from cactus.graph.plan import Plan
    from cactus.weights.format.folder import PackedTensor

_Started = TypeVar("_Started")

HEADROOM = 64 << 20
"""Address space in bytes for threads' stacks, buffers and the first of the KV cache."""

KV_TYPES = ("f16", "int8")
"""What keys and values can be kept as."""
ACTIVATION_TYPES = ("int12", "int8")
"""What activations can be multiplied as with quantised weights."""


class LoadArguments(TypedDict, total=False):
    """The keywords of `LoadOptions`."""

    threads: int | None
    isa: str | None
    context: int | None
    kv: str
    activations: str
    preload: bool
    resident: bool


class ProgramOptions(TypedDict):
    """Keywords of the native program."""

    threads: int | None
    isa: str | None
    preload: bool
    resident: bool


@dataclass(frozen=True)
class LoadOptions:
    """How a model is loaded, checked; `Model` says what each option means.

    Raises InvalidRequest naming the option.
    """

    threads: int | None = None
    isa: str | None = None
    context: int | None = None
    kv: str = "f16"
    activations: str = "int12"
    preload: bool = False
    resident: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "threads", choose_threads(self.threads))
        if self.isa is not None and not isinstance(self.isa, str):
            raise InvalidRequest(
                f"isa must be the name of a kernel tier, got {type(self.isa).__name__}"
            )
        if self.context is not None:
            object.__setattr__(self, "context", integer("context", self.context, 1))
        if self.kv not in KV_TYPES:
            raise InvalidRequest(f"kv must be 'f16' or 'int8', got {self.kv!r:.100}")
        if self.activations not in ACTIVATION_TYPES:
            raise InvalidRequest(
                f"activations must be 'int12' or 'int8', got {self.activations!r:.100}"
            )
        for name in ("preload", "resident"):
            object.__setattr__(self, name, boolean(name, getattr(self, name)))

    def context_of(self, own: int) -> int:
        """The context to load a model with whose own is `own`; InvalidRequest beyond it."""
        if self.context is not None and self.context > own:
            raise InvalidRequest(
                f"context must be at most {own}, which is what this model was made for, "
                f"got {self.context}"
            )
        return own if self.context is None else self.context

    @property
    def of_program(self) -> ProgramOptions:
        """What the native program is made with."""
        return {
            "threads": self.threads,
            "isa": self.isa,
            "preload": self.preload,
            "resident": self.resident,
        }

    def apply(self, blob: bytes) -> bytes:
        """A plan's blob with keys and values kept, and activations multiplied, as chosen."""
        if self.kv == "int8":
            from cactus.graph.plan import with_int8_kv

            blob = with_int8_kv(blob)
        if self.activations == "int8":
            from cactus.graph.plan import with_int8_activations

            blob = with_int8_activations(blob)
        return blob


def start_with_plans(
    folder: Path,
    architecture: str,
    names: Sequence[str],
    make: Callable[[], Sequence[StoredPlan]],
    start: Callable[[Sequence[StoredPlan]], _Started],
) -> _Started:
    """Start the plans kept in a folder as `names`, if they are still true, else new ones.

    Kept plans are of `architecture`, and the native core trusts no more of them than it checks.
    """
    key = key_of(folder)
    kept = [] if key is None else [read_plan(folder, key, name) for name in names]
    found = [plan for plan in kept if plan is not None and plan.architecture == architecture]
    if len(found) == len(names):
        # Kept plans that do not load are as good as none; what else is wrong stays wrong.
        with suppress(CactusError, struct.error):
            return start(found)
    made = make()
    # Not if somebody has changed the folder meanwhile.
    if key is not None and key == key_of(folder):
        for name, plan in zip(names, made, strict=True):
            write_plan(folder, key, plan, name)
    return start(made)


def build_plan(
    graph: Graph, tensors: Mapping[str, PackedTensor], vocab_size: int, context_length: int
) -> Plan:
    """The plan of a traced graph with the tensors of a weights folder, after all passes."""
    from cactus.graph import passes, plan

    graph = passes.optimize(
        graph, lambda name: tensors[name].dtype, lambda name: tensors[name].rows
    )
    return plan.build(graph, tensors, vocab_size=vocab_size, context_length=context_length)


def prepare(folder: Path) -> None:
    """Refuse a model that cannot fit, and ask for its pages before they are needed.

    The tokenizer's library ends the whole process when an allocation fails, so there must be room
    for it too: some eight times its file, and a little for everybody else. The disk works while
    Python does. Raises InsufficientMemory.
    """
    data = folder / "model.safetensors"
    weights = _size(data)
    need = weights + 8 * _size(folder / "tokenizer.json") + HEADROOM
    have = memory_bytes()
    if have is not None and weights > have:
        found = f"this process may use {have / 2**20:.0f} MiB of memory"
    elif not can_reserve(need):
        found = f"{need / 2**20:.0f} MiB are not there (see ulimit -v)"
    else:
        _read_ahead(data)
        return
    raise InsufficientMemory(
        f"{name_of(folder)} has {weights / 2**20:.0f} MiB of weights, and {found}; take a smaller "
        "model, or convert it with a smaller --precision"
    )


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
