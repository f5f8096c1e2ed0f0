"""The programs of one weights file, each made when it is first used, all from one plan cache."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cactus.calls.closing import Closing
from cactus.engine.options import LoadOptions
from cactus.engine.plan_cache import StoredPlan, key_of, read_plan, write_plan
from cactus.errors import CactusError, ModelClosed, ModelFormatError
from cactus.weights.locate import name_of

if TYPE_CHECKING:
    from cactus.graph.node import Graph
    from cactus.models.abilities import Ability
    from cactus.models.base import Architecture
    from cactus.native import Program
    from cactus.weights.format.folder import PackedTensor


class Traced(NamedTuple):
    """A graph, not yet fused. Its first output is logits over `vocab_size` tokens; 0: states.

    `context_length` is the most tokens of a session; of a graph of features the rows of a memory.
    """

    graph: Graph
    vocab_size: int
    context_length: int


@dataclass(frozen=True)
class Part:
    """A program that a model can be run as: `trace` makes its graph of the built model.

    Its plan is kept as `file`. `chunk` is the most tokens of a step; None for a program of
    features, whose step takes a whole memory; an encoder of whole texts or pictures has `TEXT_ROWS`
    or the longest of them. Such an encoder may multiply in bf16; without `rounds_floats` only where
    its weights are quantised. What `trace` depends on besides the model's code, config.json and
    tensors belongs into `also`. Parts are defined in the file ``parts.py`` of a room, whose code is
    in the key of kept plans.
    """

    name: str
    file: str
    trace: Callable[[Architecture], Traced]
    chunk: int | None = 320  # a tile of an image is 256 tokens, with words around it
    also: bytes = b""
    rounds_floats: bool = True


TEXT_ROWS = 2048
"""The most rows of an encoder's step, if none of its texts or pictures can be longer. Buffers take
memory as far as a step fills them, so that short texts do not pay for long ones."""


def _tokens(model: Architecture) -> Traced:
    config = model.config
    if model.encodes:
        from cactus.native.program import MAX_CHUNK

        return Traced(model.build(), 0, min(config.context_length, MAX_CHUNK))
    vocabulary = 0 if model.gives_states else config.vocab_size
    return Traced(model.build(), vocabulary, config.context_length)


TOKENS = Part("tokens", "plan.bin", _tokens)
"""What tokens go through: of every model the first program, whose threads and sessions others use.
"""


@dataclass(frozen=True)
class Running:
    """A program, and the plan that it runs.

    `reads` are the buffers of the graph's further outputs, in their order.
    """

    program: Program
    blob: bytes
    reads: tuple[int, ...]


class Programs(Closing):
    """The programs of the model in a weights folder. `start` may be called by several threads."""

    def __init__(self, folder: Path, architecture: str, options: LoadOptions) -> None:
        self._folder, self._architecture, self._options = folder, architecture, options
        self._key = key_of(folder)
        self._lock = threading.Lock()
        self._running: dict[str, Running] = {}
        self._closed = False

    def start(self, part: Part) -> Running:
        """A part as it runs, made now if this is the first time.

        A kept plan is taken if it is of this very model and code; the native core trusts no more of
        it than it checks. Raises ModelFormatError, UnsupportedModel, InsufficientMemory,
        NativeError, InvalidRequest for an option, ModelClosed.
        """
        with self._lock:
            found = self._running.get(part.name)
            if found is None:
                if self._closed:
                    raise ModelClosed("the model has been destroyed")
                found = self._running[part.name] = self._start(part)
            return found

    def plan(self, part: Part) -> StoredPlan:
        """The plan of a part, kept or made, which then need not run.

        Raises ModelFormatError and UnsupportedModel.
        """
        key = self._key
        kept = None if key is None else read_plan(self._folder, key, part.file, part.also)
        return self._make(part) if kept is None else kept

    def close(self) -> None:
        """Free all programs and their memory."""
        with self._lock:
            self._closed = True
            # Those that came later use what belongs to the first.
            for running in reversed(self._running.values()):
                running.program.close()

    def _start(self, part: Part) -> Running:
        if self._running and key_of(self._folder) != self._key:  # what runs has the old tensors
            raise ModelFormatError(
                f"{name_of(self._folder)} has changed since it was loaded; load it again"
            )
        key = self._key
        kept = None if key is None else read_plan(self._folder, key, part.file, part.also)
        if kept is not None and kept.architecture == self._architecture:
            # Kept plans that do not load are as good as none; what else is wrong stays wrong.
            with suppress(CactusError, struct.error):
                return self._run(part, kept)
        made = self._make(part)
        # Not if somebody has changed the folder meanwhile.
        if key is not None and key == key_of(self._folder):
            write_plan(self._folder, key, made, part.file, part.also)
        return self._run(part, made)

    def _run(self, part: Part, plan: StoredPlan) -> Running:
        from cactus.native import Program

        blob, limit = plan.blob, plan.context_length
        if part.chunk is not None:
            limit = self._options.context_of(limit)
            if limit != plan.context_length:
                from cactus.graph.plan import with_context

                blob = with_context(blob, limit)
        blob = self._options.apply(blob, plan.whole_texts)
        chunk = plan.context_length if part.chunk is None else part.chunk
        may_round = False
        if plan.whole_texts:
            from cactus.graph.dtypes import GROUPS
            from cactus.graph.plan import matrix_types

            chunk, types = max(TEXT_ROWS, limit), matrix_types(blob)
            may_round = "f32" not in types and (part.rounds_floats or bool(types & GROUPS.keys()))
        options = self._options.of_program(may_round, part.rounds_floats)
        data = self._folder / "model.safetensors"
        first = next(iter(self._running.values()), None)
        if first is None:
            program = Program(blob, data, chunk=chunk, **options)
        else:
            program = Program(blob, data, chunk=chunk, isa=options["isa"], shares=first.program)
        return Running(program, blob, plan.reads)

    def _make(self, part: Part) -> StoredPlan:
        from cactus.models.base import load_architecture
        from cactus.models.uses import abilities_of
        from cactus.weights.format.folder import WeightsFolder

        with WeightsFolder.open(self._folder) as weights:
            model = load_architecture(weights.config)
            tensors = weights.tensors
            model.check({name: tensor.shape for name, tensor in tensors.items()})
            able = abilities_of(weights.config)
            return make_plan(model.config.model_type, part.trace(model), tensors, able)


def make_plan(
    architecture: str,
    traced: Traced,
    tensors: Mapping[str, PackedTensor],
    abilities: Sequence[Ability],
) -> StoredPlan:
    """The plan of a traced graph with the tensors of a weights folder, after all passes.

    What writes text keeps keys and values in int8; embedders, which keep none from one text to the
    next, in f16. Of speech, whose tokens are few, only the memory is in int8, since each
    token reads all of it, and where matrices have 8 bits: beside those of 4 it would cost words.
    """
    from cactus.graph import passes, plan
    from cactus.graph.dtypes import GROUPS

    graph = passes.optimize(
        traced.graph, lambda name: tensors[name].dtype, lambda name: tensors[name].rows
    )
    built = plan.build(
        graph, tensors, vocab_size=traced.vocab_size, context_length=traced.context_length
    )
    reads = tuple(built.places[node.name][0] for node in graph.outputs[1:] if node.width)
    blob = built.blob
    quantized = plan.matrix_types(blob) & GROUPS.keys()
    if "complete" in abilities:
        blob = plan.with_int8_kv(blob)
    elif quantized and quantized <= {"q8", "q8_64"}:
        blob = plan.with_int8_kv(blob, ["memory"])
    whole = plan.takes_whole_texts(blob)
    return StoredPlan(architecture, traced.context_length, blob, reads, whole)
