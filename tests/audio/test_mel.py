"""Log-mel features against transformers, against the formula, and their configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.audio.mel import LogMel, MelConfig, mel_filters
from cactus.errors import CactusError, ModelFormatError, UnsupportedModel
from tests.audio.mel_cases import kept_frames, sounds

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "mel.npz")

# transformers computes the DFT in f32, and its error shows where a band is 80 dB below the loudest.
TOLERANCE = 1e-4


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("name", sounds())
def test_features_are_those_of_transformers(name: str, bins: int) -> None:
    features, real = LogMel(MelConfig(bins=bins))(sounds()[name])
    assert features.dtype == np.float32
    assert features.shape == (3000, bins)
    assert real == GOLDEN[f"{name}.frames"]
    want = GOLDEN[f"{name}.{bins}"]
    assert np.abs(features[kept_frames(real)] - want).max() <= TOLERANCE


def test_features_are_the_formula() -> None:
    """Three frames once more, one bin at a time, in f64."""
    sound = sounds()["glide"]
    features, _ = LogMel(MelConfig())(sound)
    padded = np.pad(sound.astype(np.float64), (200, 200), mode="reflect")
    hann = np.sin(np.pi * np.arange(400) / 400) ** 2
    turns = np.exp(-2j * np.pi * np.outer(np.arange(201), np.arange(400)) / 400)
    filters = mel_filters(80, 400)
    logs = {}
    for frame in range(0, 1700, 50):
        power = np.abs(turns @ (hann * padded[160 * frame : 160 * frame + 400])) ** 2
        logs[frame] = np.log10(np.maximum(power @ filters, 1e-10))
    loudest = 4 * features.max() - 4
    for frame, log in logs.items():
        want = (np.maximum(log, loudest - 8) + 4) / 4
        np.testing.assert_allclose(features[frame], want, atol=1e-6)


@pytest.mark.parametrize("bins", [80, 128])
def test_filters_are_triangles_of_equal_area(bins: int) -> None:
    fine = mel_filters(bins, 1 << 16)  # so fine that sums are integrals
    width = 8000 / (1 << 15)
    np.testing.assert_allclose(fine.sum(axis=0) * width, 1.0, rtol=1e-3)
    peaks = fine.argmax(axis=0) * width
    assert (np.diff(peaks) > 0).all()
    # 15 mel are 1000 Hz and below that all are equally far apart.
    low = peaks[peaks < 950]
    np.testing.assert_allclose(np.diff(low), np.diff(low)[0], atol=2 * width)


def test_frames_beyond_the_sound_are_its_floor() -> None:
    features, real = LogMel(MelConfig())(sounds()["tone"])
    assert real == 626
    np.testing.assert_allclose(features[real + 2 :], features.max() - 2)
    assert (features >= features.max() - 2.0001).all()


def test_a_shorter_window() -> None:
    config = MelConfig(seconds=10)
    features, real = LogMel(config)(sounds()["tone"])
    assert features.shape == (1000, 80)
    whole, _ = LogMel(MelConfig())(sounds()["tone"])
    np.testing.assert_array_equal(features[: real + 1], whole[: real + 1])


def test_more_than_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[480001\], expected at most \[480000\]"):
        LogMel(MelConfig())(np.zeros(480_001, np.float32))
    with pytest.raises(ValueError, match="expected at most"):
        LogMel(MelConfig())(np.zeros((2, 100), np.float32))


# preprocessor_config.json


def test_the_configurations_of_published_models() -> None:
    large = {
        "chunk_length": 30,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": 128,
        "hop_length": 160,
        "n_fft": 400,
        "n_samples": 480_000,
        "nb_max_frames": 3000,
        "padding_side": "right",
        "padding_value": 0.0,
        "processor_class": "WhisperProcessor",
        "return_attention_mask": False,
        "sampling_rate": 16_000,
        "dither": 0.0,
    }
    assert MelConfig.parse(large) == MelConfig(bins=128)
    assert MelConfig.parse({"mel_filters": [[0.0] * 201] * 80}) == MelConfig()
    assert (MelConfig().samples, MelConfig().frames) == (480_000, 3000)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("feature_size", 0),
        ("feature_size", "80"),
        ("feature_size", 10**9),
        ("feature_size", True),
        ("n_fft", 401),
        ("n_fft", 0),
        ("n_fft", -400),
        ("hop_length", 0),
        ("hop_length", 7777),
        ("chunk_length", 0),
        ("chunk_length", 1e9),
        ("chunk_length", float("nan")),
        ("sampling_rate", 44_100),
        ("padding_value", 1.0),
        ("dither", 1e-3),
        ("feature_extractor_type", 3),
    ],
)
def test_hostile_configurations(key: str, value: Any) -> None:
    with pytest.raises(ModelFormatError, match=f"preprocessor_config.json: {key}"):
        MelConfig.parse({key: value})


def test_another_feature_extractor() -> None:
    with pytest.raises(UnsupportedModel, match="Wav2Vec2FeatureExtractor"):
        MelConfig.parse({"feature_extractor_type": "Wav2Vec2FeatureExtractor"})
    with pytest.raises(CactusError, match="JSON object"):
        MelConfig.parse([])  # type: ignore[arg-type]
