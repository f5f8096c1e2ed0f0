"""``/v1/audio/transcriptions`` and ``/v1/audio/translations``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec import UNSET
from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from cactus.errors import InvalidAudio, InvalidRequest
from cactus.inputs.languages import NAMES
from cactus.model import Model
from cactus.segments import Segment
from cactus.server.endpoint import Ask, Endpoint, Stream, sse
from cactus.server.errors import ApiError
from cactus.server.openai.audio_types import (
    DurationUsage,
    Event,
    ServerVad,
    TextDelta,
    TextDone,
    TextSegment,
    TokenUsage,
    TranscriptionReply,
    TranscriptionRequest,
    TranslationRequest,
    logprobs_of,
    only_language,
    segment_of,
    words_of,
)
from cactus.server.openai.errors import DIALECT
from cactus.server.openai.forms import fields
from cactus.server.params import invalid, refused
from cactus.types import Transcription

CHUNKS = 8
"""Passages that go on at a time where a recording is cut into them."""

_NAMES = {
    "audio": "file",
    "initial_prompt": "prompt",
    "hotwords": "keywords",
    "task": "model",
}


async def transcribe(ask: Ask[TranscriptionRequest]) -> Any:
    """What is said in a recording."""
    assert ask.form is not None
    body = fields(ask.form, TranscriptionRequest)
    _check(body)
    options = {
        **_common(body),
        "language": only_language(body.language, body.languages, "languages") or None,
        "hotwords": ", ".join(body.keywords or ()) or None,
        "word_timestamps": "word" in (body.timestamp_granularities or ()),
        "logprobs": bool(body.include),
        **_chunks(body.chunking_strategy),
    }
    upload = _file(ask.form)
    if body.stream:
        return Stream(_events(ask, body, upload, options))
    return _reply(await _whole(ask, body, upload, options), body, "transcribe")


async def translate(ask: Ask[TranslationRequest]) -> Any:
    """What is said in a recording, in English."""
    assert ask.form is not None
    body = fields(ask.form, TranslationRequest)
    _refuse_speakers(body)
    options = {**_common(body), "task": "translate"}
    return _reply(await _whole(ask, body, _file(ask.form), options), body, "translate")


def _common(body: TranslationRequest) -> dict[str, Any]:
    # At 0 the temperature rises by itself where an answer looks wrong, as it does at OpenAI's.
    return {"initial_prompt": body.prompt or None, "temperature": body.temperature or None}


def _check(body: TranscriptionRequest) -> None:
    """Raises ApiError for fields that do not go together."""
    _refuse_speakers(body)
    form = body.response_format
    if body.known_speaker_names or body.known_speaker_references:
        raise invalid("speakers are not distinguished", "known_speaker_names")
    if body.include and form != "json":
        raise invalid(f"logprobs need response_format json, got {form}", "include")
    if body.timestamp_granularities is not None and form in ("json", "text"):
        raise invalid(
            f"expected only with response_format verbose_json, srt or vtt, got {form}",
            "timestamp_granularities",
        )
    if body.stream and form in ("srt", "vtt"):
        raise invalid(
            f"expected json, text or verbose_json in a stream, got {form}",
            "response_format",
        )


def _refuse_speakers(body: TranslationRequest) -> None:
    if body.response_format == "diarized_json":
        raise invalid(
            "diarized_json is not supported: speakers are not distinguished; "
            "expected json, text, srt, vtt or verbose_json",
            "response_format",
        )


def _chunks(strategy: str | ServerVad | None) -> dict[str, Any]:
    """The options that cut a recording in its pauses, of which several parts go on at a time."""
    if isinstance(strategy, str):
        if strategy == "auto":
            return {"batch_size": CHUNKS}
        try:
            strategy = msgspec.json.decode(strategy, type=ServerVad)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise invalid(
                f'expected "auto" or an object of type server_vad: {error}',
                "chunking_strategy",
            ) from None
    if strategy is None:
        return {}
    detector = {
        "threshold": strategy.threshold,
        "speech_pad_ms": strategy.prefix_padding_ms,
        "min_silence_duration_ms": strategy.silence_duration_ms,
    }
    return {"batch_size": CHUNKS, "vad_parameters": detector}


def _file(form: FormData) -> UploadFile:
    """The recording. Raises ApiError where none was sent, or a text such as a path."""
    given = form.getlist("file")
    if len(given) != 1:
        what = "nothing" if not given else f"{len(given)} of them"
        raise invalid(f"expected one recording, got {what}", "file")
    upload = given[0]
    if not isinstance(upload, UploadFile):
        raise invalid(
            "expected the content of a recording, got a text: paths and addresses are not read",
            "file",
        )
    return upload


@contextmanager
def _named() -> Iterator[None]:
    """Errors of the model name the fields of the form."""
    try:
        yield
    except InvalidRequest as error:
        told = refused(error, _NAMES)
        if isinstance(error, InvalidAudio) and isinstance(told, ApiError):
            told.param = "file"
        raise told from None


async def _whole(
    ask: Ask[Any], body: TranslationRequest, upload: UploadFile, options: dict[str, Any]
) -> Transcription:
    async with ask.service.use(body.model, "transcribe") as model:
        with _named():
            result = await model.atranscribe(upload.file, **options)
        return _complete(ask, model, result)


def _complete(ask: Ask[Any], model: Model, result: Transcription | None) -> Transcription:
    """The result, if it is the whole: what a stop left is not sent as if it were."""
    if result is None or result.finish_reason != "stop":
        raise ApiError(503, "the transcription was stopped", code="cancelled", retry_after=5)
    ask.service.meter.audio(model.name, result.duration)
    return result


def _reply(result: Transcription, body: TranslationRequest, task: Any) -> Any:
    form = body.response_format
    if form in ("text", "srt", "vtt"):
        text = result.text + "\n" if form == "text" else getattr(result, f"to_{form}")()
        headers = {"x-cactus-notes": json.dumps(result.notes)} if result.notes else None
        return Response(text, media_type="text/plain", headers=headers)
    usage = DurationUsage(seconds=result.duration)
    notes = list(result.notes) or UNSET
    if form == "json":
        found = logprobs_of(result.segments) if getattr(body, "include", None) else UNSET
        return TranscriptionReply(text=result.text, usage=usage, logprobs=found, notes=notes)
    wanted = getattr(body, "timestamp_granularities", None) or ["segment"]
    language = "en" if task == "translate" else result.language
    segments = result.segments
    return TranscriptionReply(
        task=task,
        language=NAMES.get(language or "", "unknown").lower(),
        duration=result.duration,
        text=result.text,
        usage=usage,
        words=words_of(segments) if "word" in wanted else UNSET,
        segments=[segment_of(each) for each in segments] if "segment" in wanted else UNSET,
        notes=notes,
    )


async def _events(
    ask: Ask[Any], body: TranscriptionRequest, upload: UploadFile, options: dict[str, Any]
) -> AsyncIterator[bytes]:
    """The text as it is found; joined, the pieces are the text of the last event."""
    waiting, begun = "", False
    async with ask.service.use(body.model, "transcribe") as model:
        with _named():
            async with model.atranscribe_stream(upload.file, **options) as stream:
                async for segment in stream:
                    said = segment.text if begun else segment.text.lstrip()
                    begun = begun or bool(said)
                    said = waiting + said
                    waiting = said[len(said.rstrip()) :]  # it may be what the text ends with
                    for event in _told(segment, said.rstrip(), body):
                        yield sse(event)
        result = _complete(ask, model, stream.transcription)
        read, written = result.metrics.prefill_tokens, result.metrics.decode_tokens
        yield sse(
            TextDone(
                text=result.text,
                usage=TokenUsage(
                    input_tokens=read, output_tokens=written, total_tokens=read + written
                ),
                logprobs=logprobs_of(result.segments) if body.include else UNSET,
                notes=list(result.notes) or UNSET,
            )
        )


def _told(segment: Segment, said: str, body: TranscriptionRequest) -> Iterator[Event]:
    yield TextDelta(delta=said, logprobs=logprobs_of([segment]) if body.include else UNSET)
    if body.response_format == "verbose_json":
        yield TextSegment(
            id=f"seg_{segment.id}",
            start=segment.start,
            end=segment.end,
            text=segment.text,
            words=UNSET if segment.words is None else words_of([segment]),
        )


ENDPOINTS = [
    Endpoint(
        "POST",
        "/v1/audio/transcriptions",
        transcribe,
        DIALECT,
        "Write down what is said in a recording.",
        body=TranscriptionRequest,
        reply=TranscriptionReply,
        event=Event,
        form=True,
        texts=True,
        errors=(404, 413, 415, 503),
        tag="audio",
    ),
    Endpoint(
        "POST",
        "/v1/audio/translations",
        translate,
        DIALECT,
        "Write down in English what is said in a recording.",
        body=TranslationRequest,
        reply=TranscriptionReply,
        form=True,
        texts=True,
        errors=(404, 413, 415, 503),
        tag="audio",
    ),
]
