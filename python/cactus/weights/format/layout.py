"""The tile layout of weights on disk, which every instruction set reads as it lies.

A matrix [rows, cols] is cut into tiles of 16 rows (the last one padded with zeros), because an
int8 dot instruction sums four neighbouring bytes into one of 16 lanes, and a lane is a row:

    q4   per tile, per group of 32 columns: 320 bytes
         4 registers x 16 rows x 4 bytes, then 16 f16 scales, then 16 f16 minima.
         Register j, row r, byte b: low nibble = column 8j + b, high nibble = column 8j + 4 + b.
         weight = scale * code + minimum, code 0..15
    q4_64   as q4, with groups of 64 columns: 8 registers, 576 bytes
    q4_0   as q4 without minima, 288 bytes.  weight = scale * (code - 8), as GGUF's Q4_0
    q4_nl   as q4_0.  weight = scale * LEVELS[code], which are not evenly spaced, as GGUF's IQ4_NL
    q8   per tile, per group of 32 columns: 544 bytes
         8 registers x 16 rows x 4 bytes (code + 128), then 16 f16 scales.
         Register j, row r, byte b: column 4j + b.  weight = scale * code, code -128..127
    q8_64   as q8, with groups of 64 columns: 16 registers, 1,056 bytes
    f16, bf16, f32   per tile, per column: the 16 values of its rows
"""

from __future__ import annotations

from cactus.graph.dtypes import GROUPS as GROUPS
from cactus.graph.dtypes import TILE_ROWS as TILE_ROWS
from cactus.inputs.checks import short

LEVELS = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
"""What the codes of q4_nl stand for, in steps of the scale: those of IQ4_NL."""


def block_nbytes(dtype: str) -> int:
    """Bytes of one group of a tile, for a dtype of `GROUPS`."""
    codes = TILE_ROWS * GROUPS[dtype] // (1 if dtype in ("q8", "q8_64") else 2)
    return codes + TILE_ROWS * (4 if dtype in ("q4", "q4_64") else 2)


def tile_nbytes(dtype: str, rows: int, cols: int) -> int:
    """Bytes of a packed matrix; `dtype` is one of `GROUPS`, "f16", "bf16" or "f32".

    Raises `ValueError` for another dtype, or when columns are no multiple of the dtype's group.
    """
    tiles = -(-rows // TILE_ROWS)
    if dtype in GROUPS:
        group = GROUPS[dtype]
        if cols % group:
            raise ValueError(f"{dtype} needs columns in multiples of {group}, got {cols}")
        return tiles * (cols // group) * block_nbytes(dtype)
    if dtype not in ("f16", "bf16", "f32"):
        raise ValueError(
            f"unknown tile dtype {short(dtype)}: damaged, or of a newer version of cactus"
        )
    return tiles * TILE_ROWS * cols * (4 if dtype == "f32" else 2)
