"""A weights folder in memory: what is loaded is one thing, whatever it can do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cactus.chat.calls.syntax import Syntax
from cactus.chat.reasoning import CLOSE, OPEN
from cactus.engine.contract import Decoder, InMemory, Program, Sampler, Sampling
from cactus.engine.costs import StepCosts
from cactus.engine.defaults import SamplingDefaults
from cactus.errors import ModelFormatError, TemplateError
from cactus.models.abilities import Ability
from cactus.weights.abilities import refusal

if TYPE_CHECKING:
    from cactus.chat.template import ChatTemplate
    from cactus.confidence.calibration import Calibration
    from cactus.engine.programs import Programs
    from cactus.grammar.compile import Grammars
    from cactus.graph.work import Work
    from cactus.native import Program as NativeProgram
    from cactus.tokenizer import Tokenizer


@dataclass(frozen=True)
class Loaded(InMemory):
    """A loaded model. `architecture` is the Hugging Face ``model_type``, `config` its config.json.

    `program` is what tokens go through; others are made by `programs` when they are first used.
    `row` and `make_sampler` build what a program's ``step`` takes. A chat template that cannot be
    used is kept as its error: the model is loaded all the same, and says so when it is to chat.
    `costs` learns what steps take on this machine. `plan` is what `program` runs.
    `sampling_defaults` are the model's own, or what is wrong with them. `cache_bytes` of keys and
    values may be kept of conversations that have ended, `image_cache_bytes` of features of images.
    `calibration` makes a probability of the scores of an answer, where the folder has one. `draft`
    is a smaller model of the same vocabulary that guesses what this one says; `owns_draft`: it is
    closed with this one.
    """

    folder: Path
    name: str
    architecture: str
    abilities: tuple[Ability, ...]
    context_length: int
    program: Program
    programs: Programs
    tokenizer: Tokenizer
    template: ChatTemplate | TemplateError
    row: Callable[..., Any]
    make_sampler: Callable[..., Sampler]
    config: Mapping[str, Any] = field(default_factory=dict)
    costs: StepCosts = field(default_factory=StepCosts)
    plan: bytes = b""
    sampling_defaults: SamplingDefaults | ModelFormatError = field(default_factory=SamplingDefaults)
    cache_bytes: int = 1 << 30
    image_cache_bytes: int = 1 << 28
    calibration: Calibration | None = None
    draft: Loaded | None = None
    owns_draft: bool = False

    @property
    def tokens(self) -> NativeProgram:
        """`program`, where the native one is wanted with all that it can do."""
        from cactus.engine.programs import TOKENS

        return self.programs.start(TOKENS).program

    def require(self, ability: Ability) -> None:
        """Raises UnsupportedModel, naming models that can, if this one lacks the ability."""
        if ability not in self.abilities:
            raise refusal(self.name, self.architecture, ability, self.abilities)

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

    @cached_property
    def grammars(self) -> Grammars:
        """What compiles grammars for this model's vocabulary."""
        from cactus.grammar.compile import Grammars

        return Grammars(self.tokenizer, self.program.vocab_size)

    @cached_property
    def syntax(self) -> Syntax:
        """How this model writes calls of tools."""
        from cactus.chat.calls.find import find_syntax

        template = None if isinstance(self.template, TemplateError) else self.template
        return find_syntax(template, lambda text: self.tokenizer.token_to_id(text) is not None)

    @property
    def call_end_tokens(self) -> frozenset[int]:
        """The ids that end an answer which may have calls, besides `end_tokens`."""
        return frozenset(self._ids(self.syntax.stops))

    def decoder(self, calls: bool = False) -> Decoder:
        """A fresh decoder of generated ids; reasoning keeps its tags, and `calls` their markup."""
        markers = self.syntax.markers if calls else ()
        return self.tokenizer.stream(shown=self._ids((OPEN, CLOSE, *markers)))

    def _ids(self, spellings: Sequence[str]) -> list[int]:
        return [id for id in map(self.tokenizer.token_to_id, spellings) if id is not None]

    def work(self) -> Work:
        """What a step of `program` reads and multiplies, whatever the machine."""
        from cactus.graph.work import read_work

        return read_work(self.plan)

    def close(self) -> None:
        """Free the programs and their memory."""
        self.programs.close()
        if self.draft is not None and self.owns_draft:
            self.draft.close()
