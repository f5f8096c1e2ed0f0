"""A gain for quiet recordings, for the speech detector alone: it misses what is very quiet."""

from __future__ import annotations

import numpy as np

from cactus.audio.decode import F32, SAMPLE_RATE

LOUD = -40.0
"""dB of full scale: audio of this level and above stays as it is, bit for bit."""

SILENT = -100.0
"""dB of full scale: audio of this level and below stays as it is, too."""

RELEASE = 5.0
"""dB a second by which the level falls when it gets quieter; it rises at once."""


class Gain:
    """Raises the quiet windows of one recording, as they come.

    The level is the RMS of the loudest window of late. It is raised to `LOUD`, and by no more than
    it lies above `SILENT`, so by 30 dB at most, where it is -70 dB; nothing below is as loud as
    that afterwards. A gain that set in suddenly would make speech of noise: there the detector goes
    by how the level changes.
    """

    def __init__(self, window: int) -> None:
        self._window, self._fall = window, RELEASE * window / SAMPLE_RATE
        self._level = -np.inf

    def __call__(self, samples: F32) -> F32:
        """Samples f32 [n * window], each window times its gain, which is at least 1."""
        windows = samples.reshape(-1, self._window)
        power = np.einsum("ij,ij->i", windows, windows) / self._window
        with np.errstate(divide="ignore"):  # digital silence
            levels = 10 * np.log10(power)
        for index, level in enumerate(levels):
            levels[index] = self._level = max(float(level), self._level - self._fall)
        raised = np.maximum(np.minimum(LOUD - levels, levels - SILENT), 0)
        if not raised.any():
            return samples
        gained: F32 = windows * (10 ** (raised[:, None] / 20)).astype(np.float32)
        return gained.reshape(-1)
