"""A chat with a model on a terminal: its answers, its settings, what it forgets."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cactus.cli.answer import Printer
from cactus.cli.conversation import Conversation, Message, Question
from cactus.cli.images import Attached, by_file, listed, load_images
from cactus.cli.interrupt import stop_at_interrupt
from cactus.cli.lines import history_file
from cactus.cli.pasted import find_images
from cactus.cli.process import INTERRUPTED
from cactus.cli.settings import MAX_TOKENS, SOURCES, UNSET
from cactus.cli.summary import handoff_of, summary_of
from cactus.cli.text import note, printable
from cactus.errors import CactusError, ContextLengthExceeded, InvalidImage, ModelClosed
from cactus.weights.abilities import refusal

if TYPE_CHECKING:
    from cactus.agent.results import ToolCall, ToolResult
    from cactus.cli.functions import Gate
    from cactus.model import Model
    from cactus.schemas.functions import Tool
    from cactus.types import Completion

log = logging.getLogger(__name__)

IMAGE_LIMITS = ("max_tiles", "max_image_tokens")
"""Options that say how much of an image is looked at."""

ENDS = {"cancelled": INTERRUPTED, "handoff": 1}
"""Exit statuses of an answer that is none."""


@dataclass
class Manner:
    """How a chat behaves, apart from what the model is asked with.

    `quiet` leaves out everything but answers; `wrap` breaks lines between words on a terminal;
    `history` keeps messages for later chats; `overflow` is what happens where the context is full:
    "stop" says so, "roll" forgets the oldest turns and says that. `frames` are those of a video
    that are looked at, at most.
    """

    quiet: bool = False
    wrap: bool = True
    history: bool = True
    overflow: str = "stop"
    frames: int | None = None


@dataclass
class Chat:
    """One conversation with a loaded model.

    `options` go to `Model.stream`; `settings` are the options of the command that can be changed,
    by their names. `tools` are what the model may call; `gate` shows each call and lets it through.
    `calibrated`: the model's answers are judged when they are whole. `sees`: it can look at images;
    `attached` are those that the next question is about.
    The answer goes to stdout, everything else to stderr.
    """

    model: Model
    folder: Path
    conversation: Conversation = field(default_factory=Conversation)
    options: dict[str, Any] = field(default_factory=dict)
    manner: Manner = field(default_factory=Manner)
    settings: Mapping[str, click.Option] = field(default_factory=dict)
    tools: Sequence[Tool] = ()
    gate: Gate | None = None
    calibrated: bool = False
    sees: bool = False
    attached: list[Attached] = field(default_factory=list)

    @property
    def history(self) -> Path | None:
        """The file that keeps messages; None where they are not to be kept."""
        return history_file() if self.manner.history else None

    @property
    def name(self) -> str:
        """The model's name."""
        return self.model.name

    def answer_once(self, prompt: str) -> int:
        """Prints one answer; the exit status. Raises what `Model.stream` raises."""
        return ENDS.get(self._answer(Question(prompt, tuple(self.attached))).finish_reason, 0)

    def say(self, text: str) -> Completion | None:
        """Answers a message about the images that are attached; paths in it attach more.

        None where there is no answer: that failed, or nothing is asked yet.
        """
        try:
            asked = self._take_images(text)
        except InvalidImage as error:
            note(str(error))
            return None
        if not asked:
            return None
        completion = self.answer(Question(asked, tuple(self.attached)))
        if completion is not None:
            self.attached.clear()
        return completion

    def attach(self, files: Sequence[str]) -> None:
        """Show the model images with the next question.

        Raises UnsupportedModel, or InvalidImage and attaches none.
        """
        if not self.sees:
            raise refusal(self.name, self.model.architecture, "see")
        loaded: list[Attached] = []
        for file in files:
            loaded += load_images(file, self.manner.frames, note)
        for images in by_file(loaded):
            verb = "is" if len(images) == 1 else "are"
            note(f"{listed(images)} {verb} attached: {self._cost(images)}")
        self.attached += loaded

    @property
    def _limits(self) -> dict[str, Any]:
        """How much of an image is looked at."""
        return {name: self.options[name] for name in IMAGE_LIMITS if name in self.options}

    def _cost(self, images: Sequence[Attached]) -> str:
        """How much of the context images take."""
        with_it, without = (
            self.model.count_tokens([Question("Hi", shown).message], **self._limits)
            for shown in (tuple(images), ())
        )
        return f"{with_it - without:,} tokens of {self.model.context_length:,}"

    def _take_images(self, text: str) -> str:
        """Attach the images whose paths are in a message; what is left of it."""
        found = find_images(text)
        if found.files and not self.sees:
            note(f"{self.name} cannot look at images; it reads the path as text")
            return text
        if self.sees and "\n" not in text:
            for path in found.missing:
                note(f"{path}: no such file; the model reads the path as text")
        if found.files:
            self.attach(found.files)
        return found.text

    def answer(self, question: Question) -> Completion | None:
        """Answers; where that fails says why, forgets the message, and gives None."""
        try:
            return self._answer(question)
        except ContextLengthExceeded as error:
            note(
                f"{str(error).rstrip('.')}. /reset starts over, "
                "/set overflow roll forgets the oldest turns."
                if self.conversation.turns and self.manner.overflow == "stop"
                else str(error)
            )
        except ModelClosed:
            raise
        except CactusError as error:
            note(str(error))
        return None

    def forget(self) -> None:
        """Start over; the system message stays."""
        self.conversation.turns.clear()
        self.attached.clear()
        self.model.reset()

    def setting(self, name: str) -> str:
        """What an option is set to, to be read."""
        value = getattr(self.manner, name, self.options.get(name))
        if value is None:
            if self.options.get("sampling") == "model" and hasattr(
                self.model.sampling_defaults, name
            ):
                own = getattr(self.model.sampling_defaults, name)
                return f"{own:g} ({SOURCES[self.model.sampling_defaults.source]})"
            return UNSET[name]
        if isinstance(value, bool):
            return "on" if value else "off"
        return printable(", ".join(value) if isinstance(value, list) else str(value))

    def set(self, name: str, value: Any) -> None:
        """Change an option; None gives it its default again.

        Raises InvalidRequest where the model has no such switch.
        """
        if name == "thinking":
            self.check_thinking(value)
        if hasattr(self.manner, name):
            setattr(self.manner, name, getattr(Manner(), name) if value is None else value)
        elif value is None:
            self.options.pop(name, None)
        else:
            self.options[name] = value

    def check_thinking(self, value: bool | None) -> None:
        """Raises InvalidRequest where the model has no such switch."""
        # Each message would fail otherwise; the chat template says whether there is a switch.
        if value is not None:
            self.model.count_tokens([{"role": "user", "content": "Hi"}], thinking=value)

    def _answer(self, question: Question) -> Completion:
        if self.manner.overflow == "roll":
            self._make_room(question)
        while True:
            try:
                completion, work = self._stream(question)
            except ContextLengthExceeded as error:
                if self.manner.overflow == "stop" or not self._drop(1):
                    raise
                log.debug("rolled on: %d of %d tokens", error.prompt_tokens, error.limit)
                continue
            break
        if not completion.text:
            print(flush=True)
        if completion.finish_reason != "handoff":
            self.conversation.add(question, completion, work)
        cost = completion.metrics
        log.info(
            "answer: %d tokens read, %d from the cache, %d written, finished by %s",
            cost.prefill_tokens, cost.cached_tokens, cost.decode_tokens, completion.finish_reason,
        )  # fmt: skip
        if not self.manner.quiet:
            most = self.options.get("max_tokens", MAX_TOKENS)
            note(summary_of(completion, most, self.model.context_length))
        self._tell_who_answered(completion)
        if not self.manner.quiet:
            self._tell_sources(completion)
        return completion

    def _tell_sources(self, completion: Completion) -> None:
        """Which documents support an answer; a terminal shows it, a pipe gets the answer alone."""
        if completion.reading is not None and self.model.corpus is not None:
            from cactus.cli.documents import show_sources

            show_sources(self.model.corpus, completion, err=True)

    @property
    def _waits(self) -> bool:
        """Whether answers are shown once they are whole, when it is clear whether to ask the cloud.

        A person at a terminal sees them as they come.
        """
        return self.calibrated and self.model.elsewhere is not None and not sys.stdout.isatty()

    def _asked_with(self, printer: Printer, sent: Sequence[Message]) -> dict[str, Any]:
        """The options for a model that is sent these messages."""
        if not any(message.get("images") for message in sent):
            return self.options
        return {**self.options, "image_progress": printer.look}

    def _stream(self, question: Question) -> tuple[Completion, list[Message]]:
        """The answer, printed as it comes, and the messages of the calls that led to it."""
        sent = self.conversation.messages(question)
        printer = Printer(quiet=self.manner.quiet, wrap=self.manner.wrap)
        options = self._asked_with(printer, sent)
        if self.tools:
            return self._run_tools(sent, printer, options)
        if self._waits:
            with printer, stop_at_interrupt(self.model.stop):
                done = self.model.chat(sent, **options)
                printer.show_whole(done)
            return done, []
        with (
            printer,
            self.model.stream(sent, **options) as stream,
            stop_at_interrupt(self.model.stop),
        ):
            for event in stream:
                printer.show(event)
            completion: Completion = stream.completion
        return completion, []

    def _run_tools(
        self, sent: list[Message], printer: Printer, options: dict[str, Any]
    ) -> tuple[Completion, list[Message]]:
        def approve(call: ToolCall) -> bool:
            printer.pause()
            return self.gate is None or self.gate(call)

        def tell(result: ToolResult) -> None:
            printer.pause()
            if self.gate is not None:
                self.gate.told(result)

        if self._waits:
            with printer, stop_at_interrupt(self.model.stop):
                result = self.model.run_tools(sent, tools=self.tools, approve=approve, **options)
                for step in result.steps:
                    printer.show_whole(step.completion)
                    for each in step.results:
                        tell(each)
        else:
            with (
                printer,
                self.model.run_tools_stream(
                    sent, tools=self.tools, approve=approve, **options
                ) as stream,
                stop_at_interrupt(self.model.stop),
            ):
                for event in stream:
                    if event.kind in ("text", "reasoning"):
                        printer.show(event)
                    elif event.result is not None:
                        tell(event.result)
                result = stream.result
        for step in result.steps[:-1]:
            self._tell_who_answered(step.completion)
        if result.finish_reason == "max_steps":
            note(f"Stopped after {len(result.steps)} answers, and the last one calls tools, too.")
        completion, work = result.completion, result.messages[len(sent) :]
        if result.finish_reason == "cancelled":
            completion = replace(completion, finish_reason="cancelled")
        if work[-1]["role"] == "assistant":
            return completion, work[:-1]
        return replace(completion, text=""), work

    def _make_room(self, asked: Question) -> None:
        """Forget the oldest turns where the next answer might not fit; half at once.

        Each time the beginning changes, all that is left is read again, so it changes seldom.
        """
        limit = self.model.context_length
        room = min(self.options.get("max_tokens", MAX_TOKENS), limit // 4)
        sizes = [
            self._tokens_of(question) + sum(self._tokens(message["content"]) for message in answer)
            for question, answer in self.conversation.turns
        ]
        needed = self._tokens(self.conversation.system or "") + self._tokens_of(asked) + room
        if sum(sizes) + needed <= limit:
            return
        kept = list(sizes)
        while kept and sum(kept) + needed > limit // 2:
            kept.pop(0)
        self._drop(len(sizes) - len(kept))

    def _tokens(self, text: str) -> int:
        """Tokens of a message, with a few for the markup around it."""
        return len(self.model.tokenize(text)) + 8

    def _tokens_of(self, question: Question) -> int:
        if not question.images:
            return self._tokens(question.text)
        return self.model.count_tokens([question.message], **self._limits)

    def _drop(self, count: int) -> bool:
        """Forget the oldest turns and say so; False if there is none."""
        count = min(count, len(self.conversation.turns))
        if not count:
            return False
        del self.conversation.turns[:count]
        turns = "turn is" if count == 1 else f"{count} turns are"
        note(f"The context is full: the oldest {turns} forgotten.")
        return True

    def _tell_who_answered(self, completion: Completion) -> None:
        """Whoever wants answers alone must know, too, which of them come from elsewhere."""
        text = handoff_of(completion, self.calibrated)
        if text:
            note(text)
