"""From a weights folder to everything that answers a chat: program, tokenizer, template."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cactus.errors import InsufficientMemory, InvalidRequest, TemplateError
from cactus.generate.contract import Decoder, Program, Sampler, Sampling
from cactus.machine import can_reserve, choose_threads, memory_bytes

if TYPE_CHECKING:
    from cactus.chat.template import ChatTemplate
    from cactus.models.base import Config
    from cactus.tokenizer import Tokenizer

T = TypeVar("T")

HEADROOM = 64 << 20
"""Address space in bytes for threads' stacks, buffers and the first of the KV cache."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A loaded model. `name` is its folder's, `architecture` the Hugging Face ``model_type``.

    `row` and `make_sampler` build what the program's ``step`` takes. A chat template that cannot be
    used is kept as its error: the model is loaded all the same, and says so when it is to chat.
    """

    name: str
    architecture: str
    context_length: int
    program: Program
    tokenizer: Tokenizer
    template: ChatTemplate | TemplateError
    row: Callable[..., Any]
    make_sampler: Callable[..., Sampler]

    @property
    def end_tokens(self) -> frozenset[int]:
        """The ids that end an answer."""
        return frozenset(self.tokenizer.eos_ids)

    def sampler(self, sampling: Sampling) -> Sampler:
        """A fresh sampler: no random state or token counts of an earlier call."""
        return self.make_sampler(**asdict(sampling))

    def decoder(self) -> Decoder:
        """A fresh decoder of generated ids."""
        return self.tokenizer.stream()

    def close(self) -> None:
        """Free the program and its memory."""
        self.program.close()


def load_engine(
    folder: Path, *, threads: int | None = None, isa: str | None = None, context: int | None = None
) -> Engine:
    """Load the weights folder `folder` into the native core.

    Raises ModelFormatError, UnsupportedModel, InsufficientMemory, NativeError, and InvalidRequest
    for a `context` beyond the model's own.
    """
    threads = choose_threads(threads)
    if isa is not None and not isinstance(isa, str):
        raise InvalidRequest(f"isa must be the name of a kernel tier, got {type(isa).__name__}")
    _check_memory(folder)
    # Reading a tokenizer takes as long as all the rest, and its library works without the GIL.
    text_side = _Aside(lambda: _load_text_side(folder))
    try:
        config, limit, program = _load_program(folder, threads, isa, context)
    except BaseException:
        text_side.wait()
        raise
    try:
        tokenizer, template = text_side.result()
    except BaseException:
        program.close()
        raise
    from cactus.native import Row, Sampler

    return Engine(
        name=folder.name,
        architecture=config.model_type,
        context_length=limit,
        program=program,
        tokenizer=tokenizer,
        template=template,
        row=Row,
        make_sampler=Sampler,
    )


def _load_program(
    folder: Path, threads: int, isa: str | None, context: int | None
) -> tuple[Config, int, Program]:
    from cactus.graph import passes, plan
    from cactus.models.base import load_architecture
    from cactus.native import Program as NativeProgram
    from cactus.weights.folder import WeightsFolder

    with WeightsFolder.open(folder) as weights:
        architecture = load_architecture(weights.config)
        tensors = weights.tensors
        architecture.check({name: tensor.shape for name, tensor in tensors.items()})
        config = architecture.config
        limit = _context(context, config.context_length)
        graph = passes.optimize(
            architecture.build(),
            lambda name: tensors[name].dtype,
            lambda name: tensors[name].rows,
        )
        built = plan.build(graph, tensors, vocab_size=config.vocab_size, context_length=limit)
        return config, limit, NativeProgram(built.blob, weights.data_path, threads=threads, isa=isa)


def _load_text_side(folder: Path) -> tuple[Tokenizer, ChatTemplate | TemplateError]:
    from cactus.chat.template import ChatTemplate
    from cactus.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder)
    try:
        return tokenizer, ChatTemplate.load(folder, tokenizer)
    except TemplateError as error:
        return tokenizer, error


class _Aside(Generic[T]):
    """Runs `work` in a thread of its own, beside what its maker goes on to do."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._thread = threading.Thread(target=self._run, name="cactus-load")
        try:
            self._thread.start()
        except RuntimeError:  # no more threads for this process: then one after the other
            self._thread = threading.current_thread()
            self._run()

    def wait(self) -> None:
        """Wait for the end, whatever it is."""
        if self._thread is not threading.current_thread():
            self._thread.join()

    def result(self) -> T:
        """Wait for the end; what `work` returned or raised."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._value

    def _run(self) -> None:
        self._error: BaseException | None = None
        try:
            self._value = self._work()
        except BaseException as error:
            self._error = error


def _context(wanted: int | None, own: int) -> int:
    if wanted is not None and wanted > own:
        raise InvalidRequest(
            f"context must be at most {own}, which is what this model was made for, got {wanted}"
        )
    return own if wanted is None else wanted


def _check_memory(folder: Path) -> None:
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
