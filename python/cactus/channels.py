"""Recordings with somebody on each channel, such as telephone calls: each channel on its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cactus.types import Metrics, Transcription

if TYPE_CHECKING:
    import os

    from cactus.model import Model


def transcribe_channels(
    model: Model, audio: str | os.PathLike[str] | bytes, **options: Any
) -> Transcription:
    """What is said on each channel of a file: segments in the order of time, with `channel`.

    Options and errors are those of `Model.transcribe`. It takes as long as that for each channel.
    """
    from cactus.audio.decode import open_audio

    with open_audio(audio) as stream:
        count = stream.channels
    return merge(
        [model.transcribe(open_audio(audio, number), **options) for number in range(1, count + 1)]
    )


def merge(results: Sequence[Transcription]) -> Transcription:
    """One transcription of those of all channels, the first of which is channel 1.

    The language is that of the channel where most is said; `confidence` is their average, each
    weighted by its tokens.
    """
    segments = [
        replace(segment, channel=number)
        for number, result in enumerate(results, 1)
        for segment in result.segments
    ]
    segments.sort(key=lambda segment: (segment.start, segment.channel))
    tokens = [sum(len(segment.tokens) for segment in result.segments) for result in results]
    most = results[tokens.index(max(tokens))]
    whole = sum(result.confidence * count for result, count in zip(results, tokens, strict=True))
    stopped = any(result.finish_reason == "cancelled" for result in results)
    return Transcription(
        segments=tuple(replace(segment, id=index) for index, segment in enumerate(segments)),
        language=most.language,
        language_probability=most.language_probability,
        duration=max(result.duration for result in results),
        finish_reason="cancelled" if stopped else "stop",
        confidence=whole / sum(tokens) if any(tokens) else most.confidence,
        notes=tuple(dict.fromkeys(note for result in results for note in result.notes)),
        metrics=_sum([result.metrics for result in results]),
    )


def _sum(metrics: Sequence[Metrics]) -> Metrics:
    """What all of it cost; a rate is that of the last."""
    return replace(
        metrics[-1],
        time_to_first_token_ms=metrics[0].time_to_first_token_ms,
        total_time_ms=sum(each.total_time_ms for each in metrics),
        prefill_tokens=sum(each.prefill_tokens for each in metrics),
        decode_tokens=sum(each.decode_tokens for each in metrics),
    )
