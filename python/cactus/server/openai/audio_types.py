"""What passes at ``/v1/audio/transcriptions`` and ``/v1/audio/translations``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from cactus.segments import Segment
from cactus.server.endpoint import Body, Reply
from cactus.server.params import invalid

Temperature = Annotated[float, Meta(ge=0, le=1)]
Milliseconds = Annotated[int, Meta(ge=0, le=60_000)]


class ServerVad(Body, kw_only=True):
    """What counts as speech: how probable it must be, what ends it, how much is kept around it."""

    type: Literal["server_vad"]
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    prefix_padding_ms: Milliseconds = 300
    silence_duration_ms: Milliseconds = 200


class TranslationRequest(Body, kw_only=True):
    """A recording to write down in English. The form's `file` is the recording."""

    model: str | None = None
    prompt: str | None = None
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"] = "json"
    temperature: Temperature = 0.0


class TranscriptionRequest(TranslationRequest, kw_only=True):
    """A recording to write down. The form's `file` is the recording."""

    language: str | None = None
    languages: list[str] | None = None
    keywords: list[str] | None = None
    include: list[Literal["logprobs"]] | None = None
    timestamp_granularities: list[Literal["word", "segment"]] | None = None
    stream: bool | None = False
    chunking_strategy: str | ServerVad | None = None
    known_speaker_names: list[str] | None = None
    known_speaker_references: list[str] | None = None


class DurationUsage(Reply, kw_only=True):
    """How many seconds the recording has."""

    type: Literal["duration"] = "duration"
    seconds: float


class TokenUsage(Reply, kw_only=True):
    """Tokens that were read (prompts of windows) and written."""

    type: Literal["tokens"] = "tokens"
    input_tokens: int
    output_tokens: int
    total_tokens: int


class Logprob(Reply, kw_only=True):
    """How probable a token was."""

    token: str
    logprob: float
    bytes: list[int]


class WordReply(Reply, kw_only=True):
    """When a word was said."""

    word: str
    start: float
    end: float


class SegmentReply(Reply, kw_only=True):
    """A stretch of speech."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class TranscriptionReply(Reply, kw_only=True):
    """What was said; `task` to `segments` are there in ``verbose_json``.

    `language` is an English word. `notes`: what was wrong with the recording, or not done as asked.
    """

    text: str
    usage: DurationUsage
    task: Literal["transcribe", "translate"] | UnsetType = UNSET
    language: str | UnsetType = UNSET
    duration: float | UnsetType = UNSET
    words: list[WordReply] | UnsetType = UNSET
    segments: list[SegmentReply] | UnsetType = UNSET
    logprobs: list[Logprob] | UnsetType = UNSET
    notes: list[str] | UnsetType = UNSET


class TextDelta(Reply, kw_only=True, tag_field="type", tag="transcript.text.delta"):
    """More of what was said."""

    delta: str
    logprobs: list[Logprob] | UnsetType = UNSET


class TextSegment(Reply, kw_only=True, tag_field="type", tag="transcript.text.segment"):
    """A segment that is complete. Speakers are not distinguished: `speaker` is always empty."""

    id: str
    start: float
    end: float
    text: str
    speaker: str = ""
    words: list[WordReply] | UnsetType = UNSET


class TextDone(Reply, kw_only=True, tag_field="type", tag="transcript.text.done"):
    """All that was said; the stream ends."""

    text: str
    usage: TokenUsage
    logprobs: list[Logprob] | UnsetType = UNSET
    notes: list[str] | UnsetType = UNSET


Event = TextDelta | TextSegment | TextDone


def only_language(one: str | None, several: list[str] | None, where: str) -> str | None:
    """The language that is given in one of two fields; "" and None: it is detected.

    Raises ApiError where there are more, naming `where` several may be given.
    """
    if several and (one or len(several) > 1):
        raise invalid("give one language, or none to have it detected", where)
    return several[0] if several else one


def logprobs_of(segments: Sequence[Segment]) -> list[Logprob]:
    """How probable the tokens of segments were, in their order."""
    return [
        Logprob(token=each.text, logprob=each.logprob, bytes=list(each.bytes))
        for segment in segments
        for each in segment.logprobs or ()
    ]


def words_of(segments: Sequence[Segment]) -> list[WordReply]:
    """When the words of segments were said."""
    return [
        WordReply(word=each.word.strip(), start=each.start, end=each.end)
        for segment in segments
        for each in segment.words or ()
    ]


def segment_of(segment: Segment) -> SegmentReply:
    """A segment as ``verbose_json`` has it; `seek` is where it begins, in frames of 10 ms."""
    return SegmentReply(
        id=segment.id,
        seek=round(100 * segment.start),
        start=segment.start,
        end=segment.end,
        text=segment.text,
        tokens=list(segment.tokens),
        temperature=segment.temperature,
        avg_logprob=segment.avg_logprob,
        compression_ratio=segment.compression_ratio,
        no_speech_prob=segment.no_speech_prob,
    )
