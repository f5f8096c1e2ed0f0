"""Whisper's features: the logarithm of the power in mel bands, a frame every 10 ms.

    frames    of `fft` samples every `hop`, centred, times a periodic Hann window
    power     |DFT|^2
    mel       power in `bins` triangles of equal area, evenly spaced on Slaney's mel scale
    features  max(log10(max(mel, 1e-10)), loudest - 8) / 4 + 1, loudest being that of the window

Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision", section 2.2; the
numbers are those of transformers' WhisperFeatureExtractor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cactus.audio.decode import F32, SAMPLE_RATE
from cactus.inputs.fields import Fields

F64 = NDArray[np.float64]

FLOOR = 1e-10
"""The least power in a band that is separated from none."""

FRAMES_AT_ONCE = 256
"""So that what is computed stays in the CPU's cache."""

ROWS_AT_ONCE = 8
"""Rows of a matrix product: BLAS shares larger ones between threads, which cost ten milliseconds
each instead of a tenth of one while the machine is busy with the model."""


@dataclass(frozen=True)
class MelConfig:
    """`bins` mel bands of a DFT of `fft` samples every `hop`; a window is `seconds` long."""

    bins: int = 80
    fft: int = 400
    hop: int = 160
    seconds: int = 30

    @staticmethod
    def parse(raw: Mapping[str, Any], where: str = "preprocessor_config.json") -> MelConfig:
        """From a checkpoint's preprocessor_config.json.

        Raises `ModelFormatError` naming the key. Filters that the file holds are not read: they
        follow from the other keys.
        """
        fields = Fields(raw, where)
        fields.choice(
            "feature_extractor_type", ("WhisperFeatureExtractor",), "WhisperFeatureExtractor"
        )
        fields.integer("sampling_rate", SAMPLE_RATE, SAMPLE_RATE, SAMPLE_RATE)
        fields.number("padding_value", 0.0, 0.0, 0.0)
        fields.number("dither", 0.0, 0.0, 0.0)
        config = MelConfig(
            fields.integer("feature_size", 1, 1024, 80),
            fields.integer("n_fft", 16, 8192, 400, multiple=2),
            fields.integer("hop_length", 1, 8192, 160),
            fields.integer("chunk_length", 1, 300, 30),
        )
        if config.seconds * SAMPLE_RATE % config.hop or config.fft >= config.samples:
            raise fields.error(
                "hop_length", f"a divisor of {config.samples} samples, and n_fft below", config.hop
            )
        return config

    @property
    def samples(self) -> int:
        """Samples of a window."""
        return self.seconds * SAMPLE_RATE

    @property
    def frames(self) -> int:
        """Frames of a window."""
        return self.samples // self.hop


class LogMel:
    """Computes the features of windows of up to `config.seconds` seconds at 16 kHz."""

    def __init__(self, config: MelConfig) -> None:
        self.config = config
        turn = np.arange(config.fft) / config.fft
        self._hann = 0.5 - 0.5 * np.cos(2 * np.pi * turn)
        self._filters = mel_filters(config.bins, config.fft).astype(np.float32)

    def __call__(self, samples: F32) -> tuple[F32, int]:
        """Features f32 [config.frames, config.bins] of samples [n], and how many frames are real.

        What is missing to a whole window is silence; a frame is real where a sample lies at or
        behind its centre, before the next frame's. Raises `ValueError` for more than a window.
        """
        config = self.config
        if samples.ndim != 1 or len(samples) > config.samples:
            raise ValueError(
                f"samples of shape {list(samples.shape)}, expected at most [{config.samples}]"
            )
        log = np.full((config.frames, config.bins), np.log10(np.float32(FLOOR)), np.float32)
        padded = self._pad(samples)
        # Frames that begin behind the last sample see silence only.
        sounding = -(-(len(samples) + config.fft // 2) // config.hop)
        sounding = min(sounding + -sounding % ROWS_AT_ONCE, config.frames)
        windows = np.lib.stride_tricks.sliding_window_view(padded, config.fft)[:: config.hop]
        for start in range(0, sounding, FRAMES_AT_ONCE):
            stop = min(start + FRAMES_AT_ONCE, sounding)
            # In f32, the rounding of a loud band would drown one that is 80 dB below.
            spectrum = np.fft.rfft(windows[start:stop] * self._hann)
            power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
            rows = math.gcd(stop - start, ROWS_AT_ONCE)
            mel = power.reshape(-1, rows, power.shape[1]) @ self._filters
            mel = np.maximum(mel, np.float32(FLOOR)).reshape(stop - start, config.bins)
            log[start:stop] = np.log10(mel)
        np.maximum(log, log.max() - np.float32(8.0), out=log)
        log *= np.float32(0.25)
        log += np.float32(1.0)
        return log, -(-len(samples) // config.hop)

    def _pad(self, samples: F32) -> F32:
        """A whole window, silent at its end, with half a frame mirrored on either side."""
        half, length = self.config.fft // 2, self.config.samples
        padded = np.zeros(length + 2 * half, np.float32)
        padded[half : half + len(samples)] = samples
        padded[:half] = padded[2 * half : half : -1]
        padded[half + length :] = padded[half + length - 2 : length - 2 : -1]
        return padded


def mel_filters(bins: int, fft: int) -> F64:
    """Triangular filters [fft // 2 + 1, bins] from 0 to 8000 Hz, of equal area."""
    corners = _mel_to_hertz(np.linspace(0.0, _hertz_to_mel(SAMPLE_RATE / 2), bins + 2))
    hertz = np.linspace(0.0, SAMPLE_RATE / 2, fft // 2 + 1)[:, None]
    low, middle, high = corners[:-2], corners[1:-1], corners[2:]
    rising = (hertz - low) / (middle - low)
    falling = (high - hertz) / (high - middle)
    triangles: F64 = np.maximum(0.0, np.minimum(rising, falling))
    return triangles * (2.0 / (high - low))


# Slaney's scale: linear up to 1000 Hz = 15 mel, then 27 mel for each factor of 6.4.


def _hertz_to_mel(hertz: float) -> float:
    return 15.0 + 27.0 * float(np.log(hertz / 1000.0) / np.log(6.4))


def _mel_to_hertz(mel: F64) -> F64:
    return np.where(mel < 15.0, mel * (200.0 / 3.0), 1000.0 * 6.4 ** ((mel - 15.0) / 27.0))
