"""The answer to one request: the program's outputs become events, text and numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from cactus.calls.stopwatch import Stopwatch, rate
from cactus.chat.calls.parser import CallParser, Found
from cactus.chat.reasoning import Reasoning, Splitter
from cactus.confidence.calibration import CUT
from cactus.confidence.entropy import Confidence
from cactus.confidence.scores import Token, margin, only_values, score
from cactus.generate.elsewhere import Question
from cactus.generate.loops import LoopGuard
from cactus.generate.made_calls import MadeCalls, merged
from cactus.generate.options import Options
from cactus.generate.stop import StopMatcher
from cactus.machine import resident_megabytes
from cactus.types import (
    Completion,
    FinishReason,
    Metrics,
    Scores,
    StreamEvent,
    Structure,
    TokenLogprob,
)

if TYPE_CHECKING:
    from cactus.engine.contract import Output
    from cactus.engine.loaded import Loaded
    from cactus.generate.documents import Consulted
    from cactus.generate.drafting import Drafting
    from cactus.generate.loop import Taken
    from cactus.grammar.compile import Grammar
    from cactus.tokenizer.tokenizer import Tokenizer
    from cactus.vision.gaze import Gaze, Sights
    from cactus.vision.work import Vision


@dataclass(frozen=True, slots=True)
class Request:
    """A checked request: `prompt` fits the context and has at least one token.

    In `prompt` an id below 0 stands for a feature of an image, and is the same wherever the same
    part of the same image is meant; `sights` are these images, and `vision` looks at more of them.
    `stop_tokens` are special tokens that were given as stop strings, with their text. `reasoning`:
    whether the answer may begin with a block of it. `tools`: those that it may call, by name, with
    the schemas of their parameters. `grammar`: what the answer keeps to.
    `elsewhere` is asked where the model is less sure than wanted; without it the answer ends there.
    `consulted` are the documents that the answer is made from.
    """

    prompt: list[int]
    options: Options
    stop_tokens: Mapping[int, str] = field(default_factory=dict)
    prepared_seconds: float = 0.0
    reasoning: Reasoning = "never"
    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    grammar: Grammar | None = None
    elsewhere: Question | None = None
    consulted: Consulted | None = None
    sights: Sights | None = None
    vision: Vision | None = None

    @property
    def tokens(self) -> list[int]:
        """The tokens of the prompt alone, without its images."""
        return self.prompt if self.sights is None else [id for id in self.prompt if id >= 0]

    def cited(self, completion: Completion) -> Completion:
        """The completion with what documents have to do with it, where there are some."""
        return completion if self.consulted is None else self.consulted.cited(completion)


@dataclass(frozen=True, slots=True)
class Doubt:
    """Where confidence fell below the threshold: after so many outputs, and what it was then."""

    tokens: int
    confidence: float


class Answer:
    """Takes the outputs of one request, token by token, until there is a `reason` to end.

    `watch` must run while the engine works for this answer. `cached` and `prefilled` count tokens
    of the prompt, and are for the driver to set. `streamed`: somebody looks at the events.
    """

    def __init__(
        self,
        engine: Loaded,
        request: Request,
        gaze: Gaze | None = None,
        *,
        streamed: bool = True,
    ) -> None:
        options = request.options
        room = options.room(engine.context_length)
        self.limit = min(options.max_tokens, room - len(request.prompt))
        self.watch = Stopwatch(request.prepared_seconds)
        self.reason: FinishReason | None = None
        self.doubt: Doubt | None = None
        self.cached = 0
        self.prefilled = 0
        self.drafting: Drafting | None = None
        """What a draft has to do with it."""
        self._end_tokens = engine.end_tokens
        self._calibration = engine.calibration
        self._parser: CallParser | None = None
        if request.tools:
            self._end_tokens |= engine.call_end_tokens
            self._parser = CallParser(engine.syntax, request.tools)
        self._made = MadeCalls(request.tokens)
        self._engine, self._request, self._gaze = engine, request, gaze
        self._streamed = streamed
        # A calibration speaks of whole answers: it has its say when this one has ended.
        early = None if engine.calibration else options.confidence_threshold
        self._confidence = Confidence(engine.program.vocab_size, early)
        self._matcher = StopMatcher(options.stop, include=options.include_stop_sequences)
        self._decoder = engine.decoder(calls=bool(request.tools))
        self._splitter = Splitter(request.reasoning)
        # What may end it, and whether its text is looked into for more than a block of reasoning.
        self._enders = self._end_tokens.union(request.stop_tokens)
        self._bare = self._parser is None and not options.stop
        self._texts: list[str] = []
        self._thoughts: list[str] = []
        self._tokens: list[int] = []
        # One for each of the tokens; and whether it was forced, and is content.
        self._outputs: list[tuple[Output, bool, bool]] = []
        self._tokenizer = engine.tokenizer
        self._entries: list[TokenLogprob] = []
        self._loops = LoopGuard() if options.stop_loops else None
        self._last_token = 0
        self._sampled = 0
        self._cut = True  # until it has ended by itself
        self._whole = False  # its grammar says that it has ended
        self._stopped_by: str | None = None  # a special token that is a stop string
        self._first_seconds = 0.0

    def take(
        self,
        output: Output,
        forced: bool = False,
        ends: Literal["stop", "length"] | None = None,
    ) -> list[StreamEvent]:
        """One more output; the events to show. `reason` says whether it was the last.

        `forced`: a grammar left no choice, so that the token says nothing about confidence. `ends`:
        why the answer ends here by its grammar.
        """
        events = self._advance(output, forced, ends)
        if self.reason is None:
            return events
        if self.reason != "handoff":
            self._cut = self.reason in CUT
            threshold = self._request.options.confidence_threshold
            if self._calibration is not None and threshold is not None and self.limit > 0:
                confidence = self._worth(self._scores(self._measured()))
                if confidence < threshold:
                    self._hands_off(confidence)
        return events

    def _advance(
        self, output: Output, forced: bool, ends: Literal["stop", "length"] | None
    ) -> list[StreamEvent]:
        unsure = self._measure(output, forced)
        self._last_token = token = output.token
        if self.limit == 0:
            self.reason = "length"
            return []
        if unsure and self._hands_off(self._confidence.value):
            return []
        if token in self._enders and (token in self._end_tokens or self._stops(token)):
            self.reason, self._whole = ends or "stop", ends is not None
            self._stopped_by = self._request.stop_tokens[token] if self._stops(token) else None
            shown = self._stopped_by if self._request.options.include_stop_sequences else None
            return self._rest(shown or "")
        self._tokens.append(token)
        piece = self._decoder.push(token)
        if self._bare and self._splitter.over:
            self._texts.append(piece)
            self._outputs.append((output, forced, not forced))
            events = [StreamEvent(piece, token)] if self._streamed else []
            if self._ends_here(token, ends):
                events = merged([*events, *self._rest()]) or events
        else:
            events = self._seen(output, forced, piece, ends)
        if self._request.options.logprobs:
            wanted = self._request.options.top_logprobs
            tokenizer = self._tokenizer
            top = tuple(token_logprob(tokenizer, *other) for other in output.top[:wanted])
            self._entries.append(token_logprob(tokenizer, token, output.logprob, top))
            if events:
                events[-1] = replace(events[-1], logprob=self._entries[-1])
        return events

    def _seen(
        self, output: Output, forced: bool, piece: str, ends: Literal["stop", "length"] | None
    ) -> list[StreamEvent]:
        """The events of a token whose text is looked into: for tags, calls and stop strings."""
        thinking = self._splitter.thinking
        events = self._show(*self._look(piece))
        content = not (forced or thinking or self._splitter.thinking)
        self._outputs.append((output, forced, content))
        if self.reason is None and self._ends_here(output.token, ends):
            events += self._rest()
        empty = StreamEvent("", output.token, "reasoning" if self._splitter.thinking else "text")
        return merged(events) or [empty]

    def again(self, outputs: Sequence[Taken]) -> Answer:
        """The answer that `outputs`, the first ones of this, give alone; what it cost is kept."""
        answer = Answer(self._engine, self._request, self._gaze, streamed=self._streamed)
        answer.watch, answer.cached, answer.prefilled = self.watch, self.cached, self.prefilled
        answer.drafting = self.drafting
        for output in outputs:
            answer.take(*output)
        answer._first_seconds = self._first_seconds
        return answer

    def cancel(self) -> list[StreamEvent]:
        """No more outputs will come; the events with what was held back, if anything was."""
        self.reason = "cancelled"
        return self._rest()

    @property
    def text(self) -> str:
        """What can be shown of the answer so far."""
        return "".join(self._texts)

    def completion(self) -> Completion:
        """All of it; "cancelled" if it has no `reason` yet."""
        self.watch.pause()
        first = self._first_seconds if self._sampled else self.watch.seconds
        # What was handed off at the first token was over when that came.
        early = self.reason == "handoff" and not self._tokens
        total = first if early else self.watch.seconds
        parsed, structure = self._read()
        measured = self._measured()
        scores = self._scores(measured)
        return Completion(
            text=self.text,
            finish_reason=self._finish_reason,
            confidence=self._worth(scores),
            tokens=tuple(self._tokens),
            logprobs=tuple(token.logprob for token in measured),
            reasoning="".join(self._thoughts) or None,
            function_calls=tuple(self._made.calls),
            call_ids=tuple(self._made.ids),
            tools_kept=tuple(self._request.tools),
            token_logprobs=tuple(self._entries) if self._request.options.logprobs else None,
            parsed=parsed,
            structure=structure,
            confidences=tuple(token.confidence for token in measured),
            scores=scores,
            stop_sequence=self._stop_sequence,
            metrics=Metrics(
                time_to_first_token_ms=first * 1000,
                total_time_ms=total * 1000,
                prefill_tps=rate(self.prefilled, first),
                decode_tps=rate(self._sampled - 1, total - first),
                ram_usage_mb=resident_megabytes(),
                prefill_tokens=self.prefilled,
                decode_tokens=len(self._tokens),
                cached_tokens=self.cached,
                draft_tokens=0 if self.drafting is None else self.drafting.drafted,
                accepted_draft_tokens=0 if self.drafting is None else self.drafting.right,
                **self._looked(),
            ),
        )

    def _looked(self) -> dict[str, Any]:
        """What its images came to."""
        gaze = self._gaze
        if gaze is None:
            return {}
        return {
            "image_tokens": gaze.tokens,
            "image_tiles": gaze.tiles,
            "encoded_tiles": gaze.encoded,
            "encode_time_ms": gaze.seconds * 1000,
        }

    def _read(self) -> tuple[Any, Structure | None]:
        """The value of an answer that has a form, and how it fits that."""
        format, grammar = self._request.options.format, self._request.grammar
        if grammar is None:
            return None, None
        from cactus.grammar.result import read, read_calls

        unenforced = grammar.source.unenforced
        if self.reason not in ("stop", "length"):
            return None, Structure(unenforced)
        if format is None or self._made.calls:
            return None, read_calls(self._made.calls, self._request.tools, unenforced)
        if format.kind != "json" and not self._whole:  # a stop string or the limit has cut it
            return None, Structure(unenforced)
        return read(self.text, format, unenforced)

    def _measured(self) -> list[Token]:
        """What is known of each token."""
        of = self._confidence.of
        return [
            Token(
                output.logprob, margin(output.top), 1.0 if forced else of(output.entropy), content
            )
            for output, forced, content in self._outputs
        ]

    def _scores(self, tokens: Sequence[Token]) -> Scores | None:
        if self._made.calls:
            pieces = [self._tokenizer.token_bytes_of(token) for token in self._tokens]
            tokens = only_values(tokens, pieces, self._made.calls)
        return score(tokens, self._confidence.value)

    def _worth(self, scores: Scores | None) -> float:
        """The `confidence` of the answer so far, by its scores."""
        if self._calibration is None:
            return self._confidence.value
        return self._calibration.probability(scores, cut=self._cut)

    def _measure(self, output: Output, forced: bool) -> bool:
        self._sampled += 1
        if self._sampled == 1:
            self._first_seconds = self.watch.seconds
        if forced:
            self._confidence.skip()
            return False
        return self._confidence.add(output.entropy)

    def _hands_off(self, confidence: float) -> bool:
        """Note that the model is less sure than wanted; whether the answer ends here for it."""
        if self._request.elsewhere is None:
            self.reason = "handoff"
            return True
        if self.doubt is None:
            self.doubt = Doubt(self._sampled - 1, confidence)
        return False

    def _ends_here(self, token: int, ends: Literal["stop", "length"] | None) -> bool:
        """Whether this token is the last one, whatever its text; sets `reason` if it is."""
        if ends is not None or len(self._tokens) == self.limit:
            self.reason, self._whole = ends or "length", ends is not None
        elif self._loops is not None and self._loops.add(token):
            self.reason = "repetition"
        return self.reason is not None

    def _stops(self, token: int) -> bool:
        """Stop strings end the answer; what is thought before it may have anything in it."""
        return token in self._request.stop_tokens and not self._splitter.thinking

    @property
    def _finish_reason(self) -> FinishReason:
        if self.reason == "stop" and self._made.calls:
            return "tool_calls"
        return self.reason or "cancelled"

    @property
    def _stop_sequence(self) -> str | None:
        """The stop string that ended the answer."""
        if self.reason != "stop":
            return None
        return self._matcher.stopped or self._stopped_by

    def _look(self, piece: str) -> tuple[str, list[Found]]:
        """The reasoning in the next piece of the answer, and what else is found in it."""
        thought, text = self._splitter.push(piece)
        return thought, self._find(text)

    def _find(self, text: str) -> list[Found]:
        if self._parser is not None:
            return self._parser.push(text)
        return [Found("text", text)]

    def _show(self, thought: str, found: Sequence[Found]) -> list[StreamEvent]:
        """The events of what was found, up to where the answer ends; sets `reason` if it does."""
        events = [self._event(thought, "reasoning")] if thought else []
        for item in found:
            if item.kind == "text":
                events.append(self._event(self._matcher.push(item.text)))
                if self._matcher.stopped is not None:
                    self.reason = self.reason or "stop"
                    break
                continue
            # What could be the beginning of a stop string is none if a call follows.
            events.append(self._event(self._matcher.flush()))
            delta = self._made.take(item)
            events.append(StreamEvent("", self._last_token, "tool_call", tool_call=delta))
            if item.kind == "end" and not self._request.options.parallel_tool_calls:
                self._parser = None  # nothing more is wanted
                self.reason = self.reason or "stop"
                break
        return events

    def _event(self, text: str, kind: Literal["text", "reasoning"] = "text") -> StreamEvent:
        (self._texts if kind == "text" else self._thoughts).append(text)
        return StreamEvent(text, self._last_token, kind)

    def _rest(self, more: str = "") -> list[StreamEvent]:
        """The events of what is still held back, with `more` behind it; the answer has ended."""
        thought, found = self._look(self._decoder.flush())
        more_thought, text = self._splitter.flush()
        found += self._find(text)
        if self._parser is not None:
            found += self._parser.flush()
        events = self._show(thought + more_thought, found)
        return merged([*events, self._event(self._matcher.flush() + more)])


def token_logprob(
    tokenizer: Tokenizer, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()
) -> TokenLogprob:
    """A token with its text, and the likeliest ones at its place."""
    data = tokenizer.token_bytes_of(token)
    return TokenLogprob(token, data.decode("utf-8", "replace"), data, logprob, top)
