"""Products of stored vectors with a query, in the native core."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from .library import check, load

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LANES = 16
"""The width of vectors is a multiple of it; what is behind a vector's end is zeros."""


def padded(dimensions: int) -> int:
    """The width of vectors with so many values."""
    return -(-dimensions // LANES) * LANES


def dot_f16(
    vectors: NDArray[np.float16],
    query: NDArray[np.float32],
    threads: int | None = None,
    isa: str | None = None,
) -> NDArray[np.float32]:
    """The products [n] of vectors [n, width] with a query [width]; width is a multiple of `LANES`.

    The vectors are read where they lie, the GIL is free meanwhile, and sums have the same bits with
    any number of threads. The defaults are those of Program. Raises InvalidRequest for another
    width, NativeError for a tier that does not work here.
    """
    import numpy as np

    vectors = np.ascontiguousarray(vectors, np.float16)
    query = np.ascontiguousarray(query, np.float32)
    count, width = vectors.shape
    if query.shape != (width,):
        raise ValueError(f"the query has the shape {query.shape}, expected ({width},)")
    out = np.empty(count, np.float32)
    check(
        load().cactus_dot_f16(
            vectors.ctypes.data_as(ctypes.POINTER(ctypes.c_uint16)),
            count,
            width,
            query.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            out.ctypes.data_as(ctypes.POINTER(ctypes.c_float)),
            threads or 0,
            isa.encode() if isa else None,
        )
    )
    return out
