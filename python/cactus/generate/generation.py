"""One completion from its prompt to its end: the loop's ids become events, text and numbers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cactus.generate.confidence import Confidence
from cactus.generate.loop import sample_tokens
from cactus.generate.metrics import Stopwatch, rate, resident_megabytes
from cactus.generate.options import Options
from cactus.generate.prefix import Conversation
from cactus.generate.stop import StopMatcher
from cactus.generate.turns import Call, Turns
from cactus.types import Completion, FinishReason, Metrics, StreamEvent

if TYPE_CHECKING:
    from cactus.engine import Engine
    from cactus.generate.contract import Output


@dataclass(frozen=True, slots=True)
class Request:
    """A checked request: `prompt` fits the context and has at least one token.

    `stop_tokens` are special tokens that were given as stop strings, with their text.
    """

    prompt: list[int]
    options: Options
    stop_tokens: Mapping[int, str] = field(default_factory=dict)
    prepared_seconds: float = 0.0


class Generation:
    """Drives one completion. `events()` may be read once; then `completion` is there.

    It stays None when generation failed, and until it has ended.
    """

    def __init__(
        self,
        engine: Engine,
        turns: Turns,
        conversation: Callable[[], Conversation[Any]],
        call: Call,
        request: Request,
    ) -> None:
        options = request.options
        self._completion: Completion | None = None
        self._abandoned = False
        self._engine = engine
        self._turns = turns
        self._open_conversation = conversation
        self._call = call
        self._request = request
        self._limit = min(options.max_tokens, engine.context_length - len(request.prompt))
        self._watch = Stopwatch(request.prepared_seconds)
        self._confidence = Confidence(engine.program.vocab_size, options.confidence_threshold)
        self._matcher = StopMatcher(options.stop, include=options.include_stop_sequences)
        self._decoder = engine.decoder()
        self._texts: list[str] = []
        self._tokens: list[int] = []
        self._logprobs: list[float] = []
        self._cached = 0
        self._prefilled = 0
        self._sampled = 0
        self._first_seconds = 0.0

    def run(self) -> Completion:
        """Generate to the end and return the completion."""
        events = self.events()
        try:
            for _ in events:
                pass
        finally:
            # An interrupt between two tokens leaves the generator suspended, with the turn in hand.
            events.close()
        assert self._completion is not None
        return self._completion

    @property
    def completion(self) -> Completion | None:
        """The whole answer, or what had been shown of it when its reader went away."""
        if self._abandoned and self._completion is None:
            self._completion = self._complete("cancelled")
        return self._completion

    def events(self) -> Generator[StreamEvent, None, None]:
        """Wait for the turn, generate, and yield one event a token.

        One more may follow with text that had been held back. Its id is that of the token that
        ended the answer; after a ``stop`` it is the last token's once more.
        """
        turns, call = self._turns, self._call
        reason: FinishReason = "cancelled"
        try:
            if turns.enter(call):
                self._watch.start()
                reason = yield from self._generate()
            if reason == "cancelled":
                turns.cancel_if_closed()
            self._completion = self._complete(reason)
        except GeneratorExit:  # the reader has had enough, or the interpreter is shutting down
            self._abandoned = True
            raise
        finally:
            turns.leave(call)

    def _generate(self) -> Generator[StreamEvent, None, FinishReason]:
        engine, call, prompt = self._engine, self._call, self._request.prompt
        conversation = self._open_conversation()
        sampler = engine.sampler(self._request.options.sampling)
        try:
            self._cached = conversation.rewind(prompt)
            outputs = sample_tokens(
                engine.program, engine.row, conversation, prompt, sampler, lambda: call.stopped
            )
            return (yield from self._read(outputs))
        except (GeneratorExit, SystemExit):
            raise
        except BaseException:
            # A step that failed may have left the cache anywhere: rely on nothing that is in it.
            conversation.tokens.clear()
            raise
        finally:
            self._prefilled = max(0, min(len(conversation.tokens), len(prompt)) - self._cached)
            sampler.close()

    def _read(self, outputs: Iterator[Output]) -> Generator[StreamEvent, None, FinishReason]:
        reason: FinishReason = "cancelled"  # the loop ends by itself only when it is stopped
        for output in outputs:
            unsure = self._measure(output)
            token = output.token
            if self._limit == 0:
                return "length"
            if unsure:
                return "handoff"
            if token in self._engine.end_tokens or token in self._request.stop_tokens:
                reason = "stop"
                break
            self._tokens.append(token)
            self._logprobs.append(output.logprob)
            text = self._matcher.push(self._decoder.push(token))
            ended: FinishReason | None = None
            if self._matcher.stopped is not None:
                ended = "stop"
            elif len(self._tokens) == self._limit:
                ended = "length"
                text += self._rest()
            yield from self._show(text, token)
            if ended is not None:
                return ended
        rest = self._rest()
        if reason == "stop" and self._request.options.include_stop_sequences:
            rest += self._request.stop_tokens.get(token, "")
        if rest:
            yield from self._show(rest, token)
        return reason

    def _measure(self, output: Output) -> bool:
        self._sampled += 1
        if self._sampled == 1:
            self._first_seconds = self._watch.seconds
        return self._confidence.add(output.entropy)

    def _show(self, text: str, token: int) -> Iterator[StreamEvent]:
        self._texts.append(text)
        self._watch.pause()
        self._turns.step_outside()
        yield StreamEvent(text, token)
        self._turns.step_inside()
        self._watch.start()

    def _rest(self) -> str:
        """Everything the decoder and the stop matcher still hold back."""
        return self._matcher.push(self._decoder.flush()) + self._matcher.flush()

    def _complete(self, reason: FinishReason) -> Completion:
        self._watch.pause()
        total = self._watch.seconds
        first = self._first_seconds if self._sampled else total
        return Completion(
            text="".join(self._texts),
            finish_reason=reason,
            confidence=self._confidence.value,
            tokens=tuple(self._tokens),
            logprobs=tuple(self._logprobs),
            metrics=Metrics(
                time_to_first_token_ms=first * 1000,
                total_time_ms=total * 1000,
                prefill_tps=rate(self._prefilled, first),
                decode_tps=rate(self._sampled - 1, total - first),
                ram_usage_mb=resident_megabytes(),
                prefill_tokens=self._prefilled,
                decode_tokens=len(self._tokens),
                cached_tokens=self._cached,
            ),
        )
