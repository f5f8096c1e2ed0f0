"""Results as frozen dataclasses, and the JSON of the flat functions in one place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from hashlib import blake2b
from typing import Any, Literal

from cactus.inputs.checks import short
from cactus.passages import Citation as Citation
from cactus.passages import Passage as Passage
from cactus.passages import Reading as Reading
from cactus.segments import Segment as Segment
from cactus.segments import TokenLogprob as TokenLogprob
from cactus.segments import Word as Word

FinishReason = Literal["stop", "length", "tool_calls", "cancelled", "handoff", "repetition"]
EventKind = Literal["text", "reasoning", "tool_call"]


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a call of a tool, as it arrives.

    `index` is its place in `function_calls`, `id` and `name` are the same in all its pieces.
    `arguments` are the next characters of the JSON of its arguments, "" in the first piece if
    none have come; joined, those of all pieces are the whole object. `call` is the complete call,
    in its last piece. `dropped`: what began like a call was none, and comes as text; the next call
    has its index.
    """

    index: int
    id: str
    name: str
    arguments: str = ""
    call: Mapping[str, Any] | None = None
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One generated token as it arrives.

    `text` is what can be shown now. It is "" while a character, a tag or a possible stop string is
    still incomplete, and may then hold the text of several tokens. The texts of all events of
    `kind` "text", joined, are the completion's `text`, those of "reasoning" its `reasoning`. A
    token that ends the one and begins the other has an event of each kind. Those of `kind`
    "tool_call" have no text but a piece of a call in `tool_call`. `token_id` is -1 for what a cloud
    says. `logprob` is there if `logprobs` were asked for: once for each token of the answer.
    """

    text: str
    token_id: int
    kind: EventKind = "text"
    logprob: TokenLogprob | None = None
    tool_call: ToolCallDelta | None = None


_APART = frozenset(
    (
        "cached_tokens",
        "draft_tokens",
        "accepted_draft_tokens",
        "image_tokens",
        "image_tiles",
        "encoded_tiles",
        "encode_time_ms",
    )
)
"""Metrics that the flat functions do not tell."""


@dataclass(frozen=True, slots=True)
class Metrics:
    """What a call cost. Times are milliseconds in the engine, rates tokens per second."""

    time_to_first_token_ms: float = 0.0
    total_time_ms: float = 0.0
    prefill_tps: float = 0.0
    decode_tps: float = 0.0
    ram_usage_mb: float = 0.0
    prefill_tokens: int = 0
    """Tokens of the prompt that were really processed in this call."""
    decode_tokens: int = 0
    """Tokens of the answer and its reasoning; the end-of-turn token is not one of them."""
    cached_tokens: int = 0
    """Tokens of the prompt that were already in the cache."""
    draft_tokens: int = 0
    """Tokens that the draft model has written for this answer."""
    accepted_draft_tokens: int = 0
    """Those of them that the answer has, too."""
    image_tokens: int = 0
    """Positions of the prompt that images take; they count as tokens."""
    image_tiles: int = 0
    """Tiles of these images; an image that is not tiled is one."""
    encoded_tiles: int = 0
    """Tiles that were encoded in this call; the others were in a cache."""
    encode_time_ms: float = 0.0
    """How long that took; it is a part of the time to the first token."""

    @property
    def total_tokens(self) -> int:
        """Tokens processed: `prefill_tokens` + `decode_tokens`."""
        return self.prefill_tokens + self.decode_tokens

    def to_dict(self) -> dict[str, Any]:
        """What the flat functions tell: not `cached_tokens` nor images, but `total_tokens`."""
        told = [each.name for each in fields(self) if each.name not in _APART]
        row = {name: getattr(self, name) for name in told}
        return row | {"total_tokens": self.total_tokens}


@dataclass(frozen=True, slots=True)
class Structure:
    """How an answer fits the form that was asked for.

    `unenforced` says what of the schema the grammar left open; nothing, where it is empty.
    `valid` is None where the answer is not whole, as when `max_tokens` cut it, or the schema has a
    format that nobody knows; False where it breaks the schema, and `errors` say where.
    """

    unenforced: tuple[str, ...] = ()
    valid: bool | None = None
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Handoff:
    """What came of it that the model was less sure than wanted, and a cloud is set up.

    `answered`: the text is the cloud's, of `model` at `host`; `tokens_read` and `tokens_written`
    are what it says it did. Otherwise the text is the local model's, and `code` and `reason` say
    why: a word such as "timeout", "tls" or "http_429", and a sentence. `confidence` is the local
    model's when it fell below the threshold.
    """

    answered: bool
    confidence: float
    code: str | None = None
    reason: str = ""
    host: str | None = None
    model: str | None = None
    tokens_read: int | None = None
    tokens_written: int | None = None


def call_id(seed: bytes, index: int) -> str:
    """The id of a call: nine letters and digits, which is what the strictest templates take.

    The same answer to the same prompt has the same ids.
    """
    return blake2b(seed + index.to_bytes(4, "little"), digest_size=5).hexdigest()[:9]


@dataclass(frozen=True, slots=True)
class Scores:
    """What one answer alone says of how sure the model was of its content.

    Content are the tokens of the text: not its reasoning, nor what a grammar forced; of an answer
    with tool calls, the tokens of their names and values. `content_tokens` is how many these are,
    `logprob_mean`, `logprob_min`, `logprob_p10` (the 10 % quantile) and `logprob_window` (the least
    mean of ten in a row) are of the natural logarithms of their probabilities. `margin_mean` and
    `margin_min` are how much more probable the likeliest token was than the second, 0 to 1.
    `entropy` is 1 - the mean normalised entropy of all tokens: what `confidence` is without a
    calibration. `agreement` and `self_check` are there if ``Model.assess`` was asked for them.
    """

    content_tokens: int
    logprob_mean: float
    logprob_min: float
    logprob_p10: float
    logprob_window: float
    margin_mean: float
    margin_min: float
    entropy: float
    agreement: float | None = None
    self_check: float | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Completion:
    """The answer to a chat, complete or as far as it got. ``str`` of it is its text.

    `finish_reason`: "stop" (the model ended its turn, or a stop string came), "tool_calls" (it did
    so, and has called tools), "length" (`max_tokens` or the context is used up), "cancelled"
    (``stop`` was called or the stream closed), "handoff" (confidence fell below
    `confidence_threshold`; `text` is what there was), "repetition" (`stop_loops` was asked for, and
    the answer only repeated itself).
    `reasoning` is what the model thought before it answered, without its `<think>` tags; None if it
    did not. `function_calls` are the tools that it called, each with `name` and `arguments`, and
    `call_ids` their ids; none of their markup is in `text`. `tokens` are those of all.
    `confidence` is 0 to 1, `scores` are what else the answer says of it; None where it has no
    content. `logprobs` are natural logarithms, and `confidences` 0 to 1, one for each of `tokens`;
    `token_logprobs` are the same with texts and the likeliest alternatives, where asked for.
    `parsed` is the value of an answer of JSON (`response_format`, `schema`), None where it is not
    whole; `structure` says how the answer fits the form, None where none was asked for.
    `handoff` says what came of it where a cloud was to be asked; a cloud's answer has no `tokens`.
    `tools_kept` are the names of the tools that the model was shown.
    `stop_sequence` is the stop string that ended it, if one did.
    With documents, `reading` is what of them the answer was made from, and `citations` are its
    sentences that they support.
    """

    text: str
    finish_reason: FinishReason
    confidence: float
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    metrics: Metrics
    function_calls: tuple[dict[str, Any], ...] = ()
    reasoning: str | None = None
    token_logprobs: tuple[TokenLogprob, ...] | None = None
    parsed: Any = None
    structure: Structure | None = None
    handoff: Handoff | None = None
    call_ids: tuple[str, ...] = ()
    tools_kept: tuple[str, ...] = ()
    confidences: tuple[float, ...] = ()
    scores: Scores | None = None
    citations: tuple[Citation, ...] = ()
    reading: Reading | None = None
    stop_sequence: str | None = None

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        thought = "" if self.reasoning is None else f", reasoning={short(self.reasoning)}"
        names = ", ".join(call["name"] for call in self.function_calls)
        calls = f", calls {names}" if names else ""
        return (
            f"Completion({short(self.text)}{thought}{calls}, {self.finish_reason!r}, "
            f"confidence={self.confidence:.2f}, {len(self.tokens)} tokens, "
            f"{self.metrics.decode_tps:.0f} tokens/s)"
        )

    @property
    def cloud_handoff(self) -> bool:
        """True if the model was too unsure: a larger one has answered, or should be asked."""
        answered = self.handoff is not None and self.handoff.answered
        return answered or self.finish_reason == "handoff"

    @property
    def message(self) -> dict[str, Any]:
        """The answer as the assistant's message for the next `chat`, in OpenAI's form."""
        said: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.reasoning is not None:
            said["reasoning_content"] = self.reasoning
        if self.function_calls:
            said["content"] = self.text or None
            said["tool_calls"] = [self._tool_call(n) for n in range(len(self.function_calls))]
        return said

    def _tool_call(self, index: int) -> dict[str, Any]:
        call = self.function_calls[index]
        arguments = json.dumps(call["arguments"], ensure_ascii=False)
        given = self.call_ids[index : index + 1]
        made = given[0] if given else call_id(f"{call['name']}{arguments}".encode(), index)
        named = {"name": call["name"], "arguments": arguments}
        return {"id": made, "type": "function", "function": named}

    def result(self) -> CompletionResult:
        """The 14 fields of ``cactus_complete``."""
        unanswered = self.finish_reason == "handoff"
        return CompletionResult(
            success=not unanswered,
            cloud_handoff=self.cloud_handoff,
            response=None if unanswered else self.text,
            function_calls=[dict(call) for call in self.function_calls],
            confidence=self.confidence,
            **self.metrics.to_dict(),
        )


@dataclass(frozen=True, slots=True)
class RankedText:
    """How well a text answers a query: `index` is its place in the list that was given.

    `score` is what the model says: 0 to 1 where it ends in a sigmoid, as nearly all do.
    `truncated`: only the beginning of the text was read. `tokens` are those of query and text that
    were read together.
    """

    index: int
    score: float
    text: str
    truncated: bool = False
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class DetectedLanguage:
    """The language of a recording: a code such as "en", and how probable it and all others are.

    `probabilities` are those of the window that decided, in falling order. `language` is None where
    nobody speaks.
    """

    language: str | None
    probability: float
    probabilities: Mapping[str, float]


@dataclass(frozen=True, slots=True, repr=False)
class Transcription:
    """What was said in a recording, complete or as far as it got. ``str`` of it is its text.

    `language` is a code such as "en", given or detected with `language_probability`. `duration` is
    how many seconds were transcribed. `confidence`, 0 to 1, is the average probability of a token
    (the geometric mean). `notes` say what was wrong with the recording. `finish_reason` is "stop",
    or "cancelled" (``stop`` was called or the stream closed).
    """

    segments: tuple[Segment, ...]
    language: str | None
    language_probability: float
    duration: float
    finish_reason: FinishReason
    confidence: float
    notes: tuple[str, ...]
    metrics: Metrics

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return (
            f"Transcription({short(self.text)}, {self.language!r}, "
            f"{len(self.segments)} segments, {self.duration:.2f} s)"
        )

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(segment.text for segment in self.segments).strip()

    def to_text(self) -> str:
        """A line for each segment."""
        return self._render("text")

    def to_srt(self) -> str:
        """SubRip subtitles; a segment with words becomes several, of two lines at most."""
        return self._render("srt")

    def to_vtt(self) -> str:
        """WebVTT subtitles; a segment with words becomes several, of two lines at most."""
        return self._render("vtt")

    def to_tsv(self) -> str:
        """A table with tabs: start and end in milliseconds, text."""
        return self._render("tsv")

    def to_json(self) -> str:
        """One line of JSON: text, language, notes, segments with all their fields."""
        return self._render("json")

    def to_verbose_json(self) -> str:
        """One line of JSON with the fields of OpenAI's ``verbose_json``."""
        return self._render("verbose_json")

    def _render(self, form: str) -> str:
        from cactus.subtitles import render

        return render(self, form)

    def result(self) -> TranscriptionResult:
        """The fields of ``cactus_transcribe``."""
        return TranscriptionResult(
            success=True,
            response=self.text,
            confidence=self.confidence,
            segments=[segment.to_dict() for segment in self.segments],
            **self.metrics.to_dict(),
        )


@dataclass(frozen=True, slots=True)
class LiveUpdate:
    """What a live transcription knows more than before.

    `confirmed` is the text that became certain: to be appended to what came before, and never taken
    back. `pending` is all the text behind it, and may change. `segments` are those that have
    ended for good, with their times; a window of up to 30 seconds gives them together.
    `confidence` is that of the last answer.
    """

    confirmed: str
    pending: str
    segments: tuple[Segment, ...]
    confidence: float
    metrics: Metrics

    def result(self) -> LiveResult:
        """The fields of ``cactus_stream_transcribe_process``."""
        return LiveResult(
            success=True,
            response=self.confirmed,
            confidence=self.confidence,
            segments=[segment.to_dict() for segment in self.segments],
            confirmed=self.confirmed,
            pending=self.pending,
            **self.metrics.to_dict(),
        )


class Result:
    """What a flat function returns as JSON: the fields of a dataclass, always all, in order."""

    def to_json(self) -> str:
        """One line of JSON: confidence with 4 decimals, other fractions with 2, text as UTF-8."""
        row: dict[str, Any] = {}
        for each in fields(self):  # type: ignore[arg-type]
            value = getattr(self, each.name)
            if isinstance(value, float):
                value = round(value, 4 if each.name == "confidence" else 2)
            row[each.name] = value
        # NaN is not JSON; better an error here than one in every reader.
        return json.dumps(row, ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, kw_only=True)
class CompletionResult(Result):
    """What ``cactus_complete`` returns: always these 14 fields, in this order."""

    success: bool
    error: str | None = None
    cloud_handoff: bool = False
    response: str | None = None
    function_calls: list[dict[str, Any]] = field(default_factory=list)
    confidence: float = 0.0
    time_to_first_token_ms: float = 0.0
    total_time_ms: float = 0.0
    prefill_tps: float = 0.0
    decode_tps: float = 0.0
    ram_usage_mb: float = 0.0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    total_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class TranscriptionResult(CompletionResult):
    """What ``cactus_transcribe`` returns: the 14 fields of a completion, then `segments`."""

    segments: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class LiveResult(TranscriptionResult):
    """What ``cactus_stream_transcribe_process`` and ``_stop`` return.

    `response` and `confirmed` are the text that became certain with this call.
    """

    confirmed: str = ""
    pending: str = ""


@dataclass(frozen=True, kw_only=True)
class VadResult(Result):
    """What ``cactus_vad`` returns; `segments` have their `start` and `end` in samples."""

    success: bool
    error: str | None = None
    segments: list[dict[str, int]] = field(default_factory=list)
    total_time_ms: float = 0.0
    ram_usage_mb: float = 0.0
