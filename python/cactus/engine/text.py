"""From a weights folder to everything that answers a chat: program, tokenizer, template."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cactus.chat.reasoning import CLOSE, OPEN
from cactus.compat import Unpack
from cactus.engine.contract import Decoder, Program, Sampler, Sampling
from cactus.engine.costs import StepCosts
from cactus.engine.defaults import SamplingDefaults, read_defaults
from cactus.engine.loading import (
    LoadArguments,
    LoadOptions,
    build_plan,
    prepare,
    start_with_plans,
)
from cactus.engine.plan_cache import NAME, StoredPlan
from cactus.errors import ModelFormatError, TemplateError
from cactus.weights.abilities import check_ability
from cactus.weights.locate import model_type_of, name_of

if TYPE_CHECKING:
    from cactus.chat.template import ChatTemplate
    from cactus.graph.work import Work
    from cactus.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Engine:
    """A loaded model. `architecture` is the Hugging Face ``model_type``.

    `row` and `make_sampler` build what the program's ``step`` takes. A chat template that cannot be
    used is kept as its error: the model is loaded all the same, and says so when it is to chat.
    `costs` learns what steps take on this machine. `plan` is what the program runs.
    `sampling_defaults` are the model's own, or what is wrong with them.
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
    sampling_defaults: SamplingDefaults | ModelFormatError = field(default_factory=SamplingDefaults)

    @property
    def end_tokens(self) -> frozenset[int]:
        """The ids that end an answer."""
        return frozenset(self.tokenizer.eos_ids)

    def sampler(self, sampling: Sampling, prompt: Sequence[int]) -> Sampler:
        """A fresh sampler: no random state or token counts of an earlier call.

        It sees the whole `prompt`, whatever part of that is in a cache.
        """
        return self.make_sampler(**asdict(sampling), prompt=prompt)

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


def load_engine(folder: Path, **arguments: Unpack[LoadArguments]) -> Engine:
    """Load the weights folder `folder` into the native core; `Model` describes the options.

    Raises ModelFormatError, UnsupportedModel, InsufficientMemory, NativeError, and InvalidRequest
    for an option, or for a `context` beyond the model's own.
    """
    options = LoadOptions(**arguments)
    name, architecture = name_of(folder), model_type_of(folder)
    check_ability(name, architecture, "chat")
    from cactus.native import Program as NativeProgram
    from cactus.native import Row, Sampler

    prepare(folder)

    def start(plans: Sequence[StoredPlan]) -> tuple[bytes, int, NativeProgram]:
        (made,) = plans
        blob, limit = made.blob, options.context_of(made.context_length)
        if limit != made.context_length:
            from cactus.graph.plan import with_context

            blob = with_context(blob, limit)
        blob = options.apply(blob)
        path = folder / "model.safetensors"
        program = NativeProgram(blob, path, **options.of_program)
        # The core's own word: a kept plan may say anything of itself.
        return blob, program.info.context_length, program

    blob, limit, program = start_with_plans(
        folder, architecture, [NAME], lambda: [_make_plan(folder)], start
    )
    try:
        tokenizer, template = _load_text_side(folder, name)
    except BaseException:
        program.close()
        raise
    return Engine(
        name=name,
        architecture=architecture,
        context_length=limit,
        program=program,
        tokenizer=tokenizer,
        template=template,
        row=Row,
        make_sampler=Sampler,
        plan=blob,
        sampling_defaults=sampling_defaults(folder),
    )


def _make_plan(folder: Path) -> StoredPlan:
    from cactus.models.base import load_architecture
    from cactus.weights.format.folder import WeightsFolder

    with WeightsFolder.open(folder) as weights:
        architecture = load_architecture(weights.config)
        tensors = weights.tensors
        architecture.check({name: tensor.shape for name, tensor in tensors.items()})
        config = architecture.config
        limit = config.context_length
        built = build_plan(architecture.build(), tensors, config.vocab_size, limit)
        return StoredPlan(config.model_type, limit, built.blob)


def _load_text_side(folder: Path, name: str) -> tuple[Tokenizer, ChatTemplate | TemplateError]:
    from cactus.chat.template import ChatTemplate
    from cactus.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder, name)
    try:
        return tokenizer, ChatTemplate.load(folder, tokenizer)
    except TemplateError as error:
        return tokenizer, error


def sampling_defaults(folder: Path) -> SamplingDefaults | ModelFormatError:
    """What a weights folder recommends, or what is wrong with its generation_config.json."""
    try:
        return read_defaults(folder)
    except ModelFormatError as error:
        return error
