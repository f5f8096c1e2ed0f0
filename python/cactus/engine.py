"""From a weights folder to everything that answers a chat: program, tokenizer, template."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cactus.errors import CactusError, InsufficientMemory, InvalidRequest, TemplateError
from cactus.generate.contract import Decoder, Program, Sampler, Sampling
from cactus.generate.reasoning import CLOSE, OPEN
from cactus.generate.speculation import StepCosts
from cactus.machine import can_reserve, choose_threads, memory_bytes
from cactus.plan_cache import StoredPlan, key_of, read_plan, write_plan
from cactus.speech import is_speech_model
from cactus.weights.abilities import refusal
from cactus.weights.files import read_json

if TYPE_CHECKING:
    from cactus.chat.template import ChatTemplate
    from cactus.graph.node import Graph
    from cactus.graph.plan import Plan
    from cactus.graph.work import Work
    from cactus.tokenizer import Tokenizer
    from cactus.weights.folder import PackedTensor

HEADROOM = 64 << 20
"""Address space in bytes for threads' stacks, buffers and the first of the KV cache."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A loaded model. `name` is its folder's, `architecture` the Hugging Face ``model_type``.

    `row` and `make_sampler` build what the program's ``step`` takes. A chat template that cannot be
    used is kept as its error: the model is loaded all the same, and says so when it is to chat.
    `costs` learns what steps take on this machine. `plan` is what the program runs.
    """

    name: str
    architecture: str
    context_length: int
    program: Program
    tokenizer: Tokenizer
    template: ChatTemplate | TemplateError
    row: Callable[..., Any]
    make_sampler: Callable[..., Sampler]
    costs: StepCosts = field(default_factory=StepCosts)
    plan: bytes = b""

    @property
    def end_tokens(self) -> frozenset[int]:
        """The ids that end an answer."""
        return frozenset(self.tokenizer.eos_ids)

    def sampler(self, sampling: Sampling) -> Sampler:
        """A fresh sampler: no random state or token counts of an earlier call."""
        return self.make_sampler(**asdict(sampling))

    @property
    def thinks(self) -> bool:
        """Whether ``<think>`` is this model's markup: its template or its vocabulary has it."""
        source = "" if isinstance(self.template, TemplateError) else self.template.source
        return OPEN in source or CLOSE in source or self.tokenizer.token_to_id(OPEN) is not None

    def decoder(self) -> Decoder:
        """A fresh decoder of generated ids; reasoning keeps its tags."""
        tags = map(self.tokenizer.token_to_id, (OPEN, CLOSE))
        return self.tokenizer.stream(shown=[id for id in tags if id is not None])

    def work(self) -> Work:
        """What a step reads and multiplies, whatever the machine."""
        from cactus.graph.work import read_work

        return read_work(self.plan)

    def close(self) -> None:
        """Free the program and its memory."""
        self.program.close()


KV_TYPES = ("f16", "int8")
"""What keys and values can be kept as."""
ACTIVATION_TYPES = ("int12", "int8")
"""What activations can be multiplied as with quantised weights."""


def check_types(kv: str, activations: str) -> None:
    """InvalidRequest unless `kv` is one of `KV_TYPES` and `activations` of `ACTIVATION_TYPES`."""
    if kv not in KV_TYPES:
        raise InvalidRequest(f"kv must be 'f16' or 'int8', got {kv!r:.100}")
    if activations not in ACTIVATION_TYPES:
        raise InvalidRequest(f"activations must be 'int12' or 'int8', got {activations!r:.100}")


def load_engine(
    folder: Path,
    *,
    threads: int | None = None,
    isa: str | None = None,
    context: int | None = None,
    kv: str = "f16",
    activations: str = "int12",
    preload: bool = False,
) -> Engine:
    """Load the weights folder `folder` into the native core; `Model` describes the options.

    Raises ModelFormatError, UnsupportedModel, InsufficientMemory, NativeError, and InvalidRequest
    for a `context` beyond the model's own or an unknown `kv` or `activations`.
    """
    threads = choose_threads(threads)
    if isa is not None and not isinstance(isa, str):
        raise InvalidRequest(f"isa must be the name of a kernel tier, got {type(isa).__name__}")
    check_types(kv, activations)
    if is_speech_model(folder):
        raise refusal(folder.name, read_json(folder / "config.json")["model_type"], "chat")
    from cactus.native import Program as NativeProgram
    from cactus.native import Row, Sampler

    check_memory(folder)
    _read_ahead(folder / "model.safetensors")

    def start(made: StoredPlan) -> Started:
        blob, limit = _as_wanted(made, context, kv, activations)
        path = folder / "model.safetensors"
        program = NativeProgram(blob, path, threads=threads, isa=isa, preload=preload)
        return replace(made, blob=blob), limit, program

    made, limit, program = _with_plan(folder, start)
    try:
        tokenizer, template = _load_text_side(folder)
    except BaseException:
        program.close()
        raise
    return Engine(
        name=folder.name,
        architecture=made.architecture,
        context_length=limit,
        program=program,
        tokenizer=tokenizer,
        template=template,
        row=Row,
        make_sampler=Sampler,
        plan=made.blob,
    )


Started = tuple[StoredPlan, int, "Program"]
"""A plan as the options want it, its context, and the program that runs it."""


def _with_plan(folder: Path, start: Callable[[StoredPlan], Started]) -> Started:
    """Start the folder's plan: the one that is kept there, if it is still true, else a new one."""
    key = key_of(folder)
    kept = None if key is None else read_plan(folder, key)
    if kept is not None:
        # A kept plan that does not load is as good as none; what else is wrong stays wrong.
        with suppress(CactusError, struct.error):
            return start(kept)
    made = _make_plan(folder)
    # Not if somebody has changed the folder meanwhile.
    if key is not None and key == key_of(folder):
        write_plan(folder, key, made)
    return start(made)


def _as_wanted(
    made: StoredPlan, context: int | None, kv: str, activations: str
) -> tuple[bytes, int]:
    """The blob of a plan as the options want it, and its context."""
    blob, limit = made.blob, _context(context, made.context_length)
    if limit != made.context_length:
        from cactus.graph.plan import with_context

        blob = with_context(blob, limit)
    return with_types(blob, kv, activations), limit


def with_types(blob: bytes, kv: str, activations: str) -> bytes:
    """A plan's blob with keys and values kept as `kv`, and activations multiplied as given."""
    if kv == "int8":
        from cactus.graph.plan import with_int8_kv

        blob = with_int8_kv(blob)
    if activations == "int8":
        from cactus.graph.plan import with_int8_activations

        blob = with_int8_activations(blob)
    return blob


def build_plan(
    graph: Graph, tensors: Mapping[str, PackedTensor], vocab_size: int, context_length: int
) -> Plan:
    """The plan of a traced graph with the tensors of a weights folder, after all passes."""
    from cactus.graph import passes, plan

    graph = passes.optimize(
        graph, lambda name: tensors[name].dtype, lambda name: tensors[name].rows
    )
    return plan.build(graph, tensors, vocab_size=vocab_size, context_length=context_length)


def _make_plan(folder: Path) -> StoredPlan:
    from cactus.models.base import load_architecture
    from cactus.weights.folder import WeightsFolder

    with WeightsFolder.open(folder) as weights:
        architecture = load_architecture(weights.config)
        tensors = weights.tensors
        architecture.check({name: tensor.shape for name, tensor in tensors.items()})
        config = architecture.config
        limit = config.context_length
        built = build_plan(architecture.build(), tensors, config.vocab_size, limit)
        return StoredPlan(config.model_type, limit, built.blob)


def _load_text_side(folder: Path) -> tuple[Tokenizer, ChatTemplate | TemplateError]:
    from cactus.chat.template import ChatTemplate
    from cactus.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder)
    try:
        return tokenizer, ChatTemplate.load(folder, tokenizer)
    except TemplateError as error:
        return tokenizer, error


def _read_ahead(path: Path) -> None:
    """Ask for the file's pages before they are needed; the disk works while Python does."""
    advise = getattr(os, "posix_fadvise", None)
    if advise is None or not path.is_file():
        return
    with path.open("rb") as file:
        advise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def _context(wanted: int | None, own: int) -> int:
    if wanted is not None and wanted > own:
        raise InvalidRequest(
            f"context must be at most {own}, which is what this model was made for, got {wanted}"
        )
    return own if wanted is None else wanted


def check_memory(folder: Path) -> None:
    """Refuse a model that cannot fit before anything is allocated for it.

    The tokenizer's library ends the whole process when an allocation fails, so there must be room
    for it too: some eight times its file, and a little for everybody else.
    """
    weights = _size(folder / "model.safetensors")
    need = weights + 8 * _size(folder / "tokenizer.json") + HEADROOM
    have = memory_bytes()
    if have is not None and weights > have:
        found = f"this process may use {have / 2**20:.0f} MiB of memory"
    elif not can_reserve(need):
        found = f"{need / 2**20:.0f} MiB are not there (see ulimit -v)"
    else:
        return
    raise InsufficientMemory(
        f"{folder.name} has {weights / 2**20:.0f} MiB of weights, and {found}; take a smaller "
        "model, or convert it with a smaller --precision"
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # whoever reads it says what is wrong with it
        return 0
