"""The processors that are compared with the reference's, and what is compared of a tile."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.images.samples import TABLE, samples

VALUES = 12
"""Values of each tile that are compared; and the mean and deviation of all."""

Files = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]

_SMOL = {"model_type": "smolvlm", "scale_factor": 4, "vision_config": {"patch_size": 16}}
_GEMMA = {
    "model_type": "gemma3",
    "mm_tokens_per_image": 16,
    "vision_config": {"patch_size": 14, "image_size": 112},
}
_QWEN3 = {
    "patch_size": 16,
    "size": {"shortest_edge": 65536, "longest_edge": 1 << 19},
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}

FAMILIES: dict[str, Files] = {
    "lfm2_vl": ({"model_type": "lfm2_vl"}, {}, {}),
    "lfm2_vl small": (
        {"model_type": "lfm2_vl"},
        {"min_tiles": 2, "max_tiles": 4, "use_thumbnail": False, "tile_size": 256, "resample": 3},
        {},
    ),
    "smolvlm": (
        _SMOL,
        {"size": {"longest_edge": 1024}, "max_image_size": {"longest_edge": 256}},
        {"image_seq_len": 16},
    ),
    "idefics3": (
        {"model_type": "idefics3", "scale_factor": 2, "vision_config": {"patch_size": 14}},
        {},
        {},
    ),
    "qwen2_vl": (
        {"model_type": "qwen2_vl"},
        {"min_pixels": 3136, "max_pixels": 602112},
        {},
    ),
    "qwen3_vl": ({"model_type": "qwen3_vl"}, _QWEN3, {}),
    "gemma3": (_GEMMA, {"size": {"height": 112, "width": 112}}, {"image_seq_length": 16}),
    "gemma3 scan": (
        _GEMMA,
        {
            "size": {"height": 112, "width": 112},
            "do_pan_and_scan": True,
            "pan_and_scan_min_crop_size": 128,
            "pan_and_scan_max_num_crops": 4,
            "pan_and_scan_min_ratio_to_activate": 1.2,
        },
        {"image_seq_length": 16},
    ),
    "clip": ({"model_type": "clip", "vision_config": {"patch_size": 32}}, {}, {}),
    "siglip": ({"model_type": "siglip", "vision_config": {"patch_size": 16}}, {}, {}),
    "siglip2": ({"model_type": "siglip2"}, {}, {}),
}
"""config.json, preprocessor_config.json and processor_config.json of each."""


def images_of(family: str) -> list[str]:
    """The names of the images that a family is compared on; LFM2-VL on those of every size."""
    large = {f"{wide}x{high}" for wide, high in TABLE} | {"huge"}
    return [name for name in samples() if family == "lfm2_vl" or name not in large]


def shown(patches: NDArray[np.float32]) -> list[float]:
    """Mean, deviation, and values here and there of a tile's patches."""
    flat = patches.reshape(-1)
    places = (np.arange(1, VALUES + 1) * 0.6180339887 % 1 * flat.size).astype(np.int64)
    values = [float(flat.mean(dtype=np.float64)), float(flat.std(dtype=np.float64))]
    return [round(value, 5) for value in (*values, *flat[places].tolist())]


def kept(count: int) -> list[int]:
    """The tiles of an image that are compared."""
    return sorted({0, count // 2, count - 1})


def digest(text: str) -> str:
    """Short, and different for different texts."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
