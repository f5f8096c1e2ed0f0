"""The tile layout of weights on disk, which every instruction set reads as it lies.

A matrix [rows, cols] is cut into tiles of 16 rows (the last one padded with zeros), because an
int8 dot instruction sums four neighbouring bytes into one of 16 lanes, and a lane is a row:

    q4   per tile, per group of 32 columns: 320 bytes
         4 registers x 16 rows x 4 bytes, then 16 f16 scales, then 16 f16 minima.
         Register j, row r, byte b: low nibble = column 8j + b, high nibble = column 8j + 4 + b.
         weight = scale * code + minimum, code 0..15
    q8   per tile, per group of 32 columns: 544 bytes
         8 registers x 16 rows x 4 bytes (code + 128), then 16 f16 scales.
         Register j, row r, byte b: column 4j + b.  weight = scale * code, code -128..127
    f16, bf16, f32   per tile, per column: the 16 values of its rows
"""

from __future__ import annotations

TILE_ROWS = 16
GROUP = 32
Q4_BLOCK = 320
Q8_BLOCK = 544


def tile_nbytes(dtype: str, rows: int, cols: int) -> int:
    """Bytes of a packed matrix; `dtype` is "q4", "q8", "f16", "bf16" or "f32".

    Raises `ValueError` for another dtype, or when q4/q8 columns are no multiple of 32.
    """
    tiles = -(-rows // TILE_ROWS)
    if dtype in ("q4", "q8"):
        if cols % GROUP:
            raise ValueError(f"{dtype} needs columns in multiples of {GROUP}, got {cols}")
        return tiles * (cols // GROUP) * (Q4_BLOCK if dtype == "q4" else Q8_BLOCK)
    if dtype not in ("f16", "bf16", "f32"):
        raise ValueError(f"unknown tile dtype {dtype!r}")
    return tiles * TILE_ROWS * cols * (4 if dtype == "f32" else 2)
