"""Makes tests/weights/golden/blocks.npz: normally distributed weights as ggml quantises them.

    python tools/make_golden_blocks.py <libggml-base.so>

The library is part of a build of llama.cpp. Each block format gets the same weights, so that a
test can say how much a format loses, and how much is lost when it is stored in another one.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))

from cactus.weights.sources.gguf.blocks import STORED  # noqa: E402
from cactus.weights.sources.gguf.file import TYPES  # noqa: E402

TARGET = ROOT / "tests" / "weights" / "sources" / "gguf" / "golden" / "blocks.npz"
ROWS, COLS = 8, 1024


def main(library: str) -> None:
    quantize = ctypes.CDLL(library).ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    pointer, wide = ctypes.c_void_p, ctypes.c_int64
    quantize.argtypes = [ctypes.c_int, pointer, pointer, wide, wide, wide, pointer]
    weights = np.random.default_rng(0).normal(0, 0.02, (ROWS, COLS)).astype(np.float16)
    arrays: dict[str, np.ndarray] = {"weights": weights}
    values = weights.astype(np.float32)
    for number, kind in TYPES.items():
        if kind.name in STORED and kind.elements > 1:
            raw = np.zeros((ROWS, COLS // kind.elements * kind.nbytes), np.uint8)
            written = quantize(number, values.ctypes.data, raw.ctypes.data, 0, ROWS, COLS, None)
            if written != raw.nbytes:
                raise SystemExit(f"{kind.name}: {written} bytes written, expected {raw.nbytes}")
            arrays[kind.name] = raw
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(TARGET, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
