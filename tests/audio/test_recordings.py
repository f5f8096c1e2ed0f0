"""Recorded speech through the front end, and the trained weights that it will be for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from cactus.audio.decode import SAMPLE_RATE, open_audio
from cactus.audio.mel import LogMel, MelConfig
from cactus.audio.vad import VadOptions, find_speech, only_speech
from cactus.weights.sources.gguf.blocks import dequantize
from cactus.weights.sources.open import open_source
from tests.assets import TRANSCRIPTS, VOICES

SECONDS = {"two_cities.wav": 44.374, "beckett.wav": 9.959, "endgame_nagg_nell.wav": 28.266}


@pytest.mark.parametrize("name", [file.name for file in VOICES.files])
def test_recordings_have_speech_in_them(voices: Path, name: str) -> None:
    with open_audio(voices / name) as stream:
        sound = stream.read()
    assert stream.notes == []
    assert len(sound) / SAMPLE_RATE == pytest.approx(stream.duration, abs=1e-3)
    if name in SECONDS:
        assert stream.duration == pytest.approx(SECONDS[name], abs=0.1)
    heard = sum(speech.end - speech.start for speech in find_speech([sound]))
    assert 0.4 * len(sound) < heard <= len(sound)
    features, real = LogMel(MelConfig())(sound[: 30 * SAMPLE_RATE])
    assert real == min(math.ceil(len(sound) / 160), 3000)
    assert np.isfinite(features).all()


@pytest.mark.parametrize("level", [-45, -55, -62, -68])
def test_quiet_speech_is_found(voices: Path, level: float) -> None:
    """As loud as somebody far away from the microphone; 16 bits leave little of it."""
    for name in ("cards_001.wav", "cards_004.wav", "cards_005.wav", "librivox_0880.wav"):
        sound = open_audio(voices / name).read()
        want = sum(speech.end - speech.start for speech in find_speech([sound]))
        quiet = sound * np.float32(10 ** (level / 20) / np.sqrt(np.mean(sound**2)))
        quiet = (np.round(quiet * 32768) / 32768).astype(np.float32)
        found = sum(speech.end - speech.start for speech in find_speech([quiet]))
        assert 0.9 * want <= found <= 1.1 * want, name


def test_silence_between_recordings_is_skipped_and_the_time_base_kept(voices: Path) -> None:
    clips = [open_audio(voices / name).read() for name in sorted(TRANSCRIPTS)[-5:]]
    silence = np.zeros(10 * SAMPLE_RATE, np.float32)
    starts, joined = [], [silence]
    for clip in clips:
        starts.append(sum(len(part) for part in joined))
        joined += [clip, silence]
    sound = np.concatenate(joined)
    options = VadOptions(speech_pad_ms=100)
    found = list(find_speech([sound], options))
    assert len(found) == len(clips)
    for speech, start, clip in zip(found, starts, clips, strict=True):
        assert start - 0.1 * SAMPLE_RATE <= speech.start <= start + 0.6 * SAMPLE_RATE
        assert start + 0.7 * len(clip) <= speech.end <= start + len(clip) + 0.4 * SAMPLE_RATE
    blocks = np.array_split(sound, 300)
    for start, samples in only_speech(blocks, options):
        assert np.array_equal(samples, sound[start : start + len(samples)])


def test_whisper_base_has_the_checkpoints_tensors(whisper_base: Path) -> None:
    source = open_source(whisper_base)
    shapes = {tensor.name: tensor.shape for tensor in source.tensors}
    assert sum(math.prod(shape) for shape in shapes.values()) == 72_593_920  # as published
    assert len(shapes) == 245
    assert source.config["d_model"] == 512
    assert source.config["encoder_layers"] == source.config["decoder_layers"] == 6
    assert source.generation["lang_to_id"]["<|en|>"] == 50259
    assert source.generation["no_timestamps_token_id"] == 50363
    # The encoder's positions are the sines of the paper, which no mapping can get right by chance.
    tensor = next(t for t in source.tensors if t.name == "model.encoder.embed_positions.weight")
    values = dequantize(tensor.kind, tensor.rows(0, 1500))
    rates = np.exp(-np.log(10_000) / 255 * np.arange(256))
    angles = np.arange(1500)[:, None] * rates
    want = np.concatenate((np.sin(angles), np.cos(angles)), axis=1)
    np.testing.assert_allclose(values, want, atol=2e-3)
    source.close()
