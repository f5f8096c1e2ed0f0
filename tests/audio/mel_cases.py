"""Sounds whose features transformers has computed, and which of their frames are kept."""

from __future__ import annotations

from typing import Any

import numpy as np

Sound = np.ndarray[Any, np.dtype[np.float32]]


def sounds() -> dict[str, Sound]:
    """Each from the smallest to a whole window, loud bands beside silent ones among them."""
    random = np.random.RandomState(7)  # its numbers are promised to stay the same
    time = np.arange(480_000) / 16_000
    glide = 0.6 * np.sin(2 * np.pi * (80 * time + 120 * time**2)) * (0.5 + 0.5 * np.sin(9 * time))
    noise = random.standard_normal(480_000)
    found = {
        "nothing": np.zeros(0),
        "one_sample": np.array([0.5]),
        "ten_ms": 0.1 * noise[:160],
        "silence": np.zeros(48_000),
        "tone": 0.9 * np.sin(0.3 * np.arange(100_001)),
        "glide": glide[:300_077] + 1e-4 * noise[:300_077],
        "noise": 0.1 * noise,
        "almost_whole": glide[:479_900] + 1e-3 * noise[:479_900],
        "clipped": np.clip(3 * glide + 0.2, -1, 1),
    }
    return {name: sound.astype(np.float32) for name, sound in found.items()}


def kept_frames(real: int) -> list[int]:
    """Frames to compare: the first and last, those around the end of the sound, some between."""
    near = [real + step for step in range(-3, 4)]
    return sorted({*range(4), *range(2996, 3000), *near, *range(0, 3000, 97)} & {*range(3000)})
