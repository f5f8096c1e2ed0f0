"""Recordings with somebody on each channel."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import soundfile

from cactus import Model
from cactus.audio.decode import open_audio
from cactus.channels import merge, transcribe_channels
from cactus.types import Metrics, Segment, Transcription

OPTIONS: dict[str, Any] = {"vad": False, "beam_size": 1, "temperature": 0.0, "language": "en"}


def test_each_channel_is_what_it_is_alone(speech_folder: Any, sound: Any) -> None:
    file = io.BytesIO()
    quiet = (sound / 3)[::-1]
    soundfile.write(file, np.stack([sound, quiet], axis=1), 16_000, format="WAV", subtype="FLOAT")
    data = file.getvalue()
    with Model(speech_folder) as model:
        alone = [model.transcribe(open_audio(data, number), **OPTIONS) for number in (1, 2)]
        assert [each.text for each in alone] == [
            model.transcribe(samples, **OPTIONS).text for samples in (sound, quiet)
        ]
        both = transcribe_channels(model, data, **OPTIONS)
    for number in (1, 2):
        texts = [each.text for each in both.segments if each.channel == number]
        assert texts == [each.text for each in alone[number - 1].segments] != []
    assert [each.id for each in both.segments] == list(range(len(both.segments)))
    assert both.duration == alone[0].duration


def test_segments_are_in_the_order_of_time_and_may_overlap() -> None:
    def said(*times: tuple[float, float, str], language: str = "en") -> Transcription:
        segments = [
            Segment(i, start, end, text, (1,) * len(text), 0.0, -0.5, 1.0, 0.0)
            for i, (start, end, text) in enumerate(times)
        ]
        return Transcription(
            tuple(segments), language, 1.0, 9.0, "stop", 0.5, ("odd",), Metrics(decode_tokens=3)
        )

    both = merge([said((0, 4, " Hello."), (6, 7, " Yes.")), said((3, 5, " Hi there."))])
    assert [(each.channel, each.text) for each in both.segments] == [
        (1, " Hello."), (2, " Hi there."), (1, " Yes."),
    ]  # fmt: skip
    assert both.notes == ("odd",)
    assert both.metrics.decode_tokens == 6
    assert both.confidence == pytest.approx(0.5)
    assert both.to_text() == "[1] Hello.\n[2] Hi there.\n[1] Yes.\n"
    assert "00:00:03,000 --> 00:00:05,000\n[2] Hi there." in both.to_srt()
    assert "\n00:03.000 --> 00:05.000\n<v Channel 2>Hi there.\n" in both.to_vtt()
    assert merge([said(), said((1, 2, "Ja"), language="de")]).language == "de"
    assert merge([said(), said()]).segments == ()
