"""The table of options by which any model is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypedDict

from cactus.engine.contract import InMemory
from cactus.errors import InvalidRequest
from cactus.inputs.checks import boolean, integer, short
from cactus.machine import choose_threads

KV_TYPES = ("f16", "int8")
"""What keys and values can be kept as."""
ACTIVATION_TYPES = ("int12", "int8")
"""What activations can be multiplied as with quantised weights."""
BF16_ISAS = ("amx_bf16", "avx512_bf16")
"""The kernel tiers that multiply 16-bit weights as bf16, the fastest first; the first one also
activations of 8 bits."""


class LoadArguments(TypedDict, total=False):
    """The keywords of `LoadOptions`."""

    threads: int | None
    isa: str | None
    context: int | None
    kv: str | None
    activations: str | None
    preload: bool
    resident: bool
    cache_bytes: int | None
    image_cache_bytes: int | None
    draft: str | os.PathLike[str] | InMemory | None


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
    kv: str | None = None
    activations: str | None = None
    preload: bool = False
    resident: bool = False
    cache_bytes: int | None = None
    image_cache_bytes: int | None = None
    draft: str | os.PathLike[str] | InMemory | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "threads", choose_threads(self.threads))
        if self.isa is not None and not isinstance(self.isa, str):
            raise InvalidRequest(
                f"isa must be the name of a kernel tier, got {type(self.isa).__name__}"
            )
        if self.context is not None:
            object.__setattr__(self, "context", integer("context", self.context, 1))
        for name in ("cache_bytes", "image_cache_bytes"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, integer(name, getattr(self, name), 0))
        if self.kv not in (None, *KV_TYPES):
            raise InvalidRequest(f"kv must be 'f16' or 'int8', got {short(self.kv)}")
        if self.activations not in (None, *ACTIVATION_TYPES):
            raise InvalidRequest(
                f"activations must be 'int12' or 'int8', got {short(self.activations)}"
            )
        if not isinstance(self.draft, (str, os.PathLike, InMemory, type(None))):
            raise InvalidRequest(
                "draft must be the name of a model, its folder or a cactus.Model, got "
                f"{type(self.draft).__name__}"
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

    def of_program(self, may_round: bool, rounds_floats: bool = True) -> ProgramOptions:
        """What the native program is made with.

        An encoder whose matrices were rounded before (`may_round`) is multiplied in bf16 by a CPU
        that has instructions for it, if nothing else was chosen: for the reason that `apply` gives.
        Without `rounds_floats` its weights of 16 bits are not.
        """
        free = self.isa is None and self.activations is None and not os.environ.get("CACTUS_ISA")
        return {
            "threads": self.threads,
            "isa": _encoder_isa(rounds_floats) if free and may_round else self.isa,
            "preload": self.preload,
            "resident": self.resident,
        }

    def apply(self, blob: bytes, whole_texts: bool) -> bytes:
        """A plan's blob with keys and values kept, and activations multiplied, as chosen.

        An encoder of texts, pictures or speech (`whole_texts`) has activations of 8 bits if nothing
        else was chosen: that costs a vector less than its weights of 8 bits do, and no step builds
        on the errors of the one before.
        """
        if self.kv is not None:
            from cactus.graph.plan import with_f16_kv, with_int8_kv

            blob = with_int8_kv(blob) if self.kv == "int8" else with_f16_kv(blob)
        if (self.activations or ("int8" if whole_texts else "int12")) == "int8":
            from cactus.graph.plan import with_int8_activations

            blob = with_int8_activations(blob)
        return blob


def _encoder_isa(rounds_floats: bool) -> str | None:
    from cactus.native import available_isas

    # Without AMX nothing but weights of 16 bits, and attention, is multiplied in bf16.
    fit, available = BF16_ISAS if rounds_floats else BF16_ISAS[:1], available_isas()
    return next((isa for isa in fit if isa in available), None)
