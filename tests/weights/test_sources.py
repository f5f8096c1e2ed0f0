"""What lies between the files that are read and the tensors that are stored."""

from __future__ import annotations

import numpy as np
import pytest

from cactus.weights.sources import SourceTensor, with_offset


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_an_offset_is_added_in_f32(kind: str) -> None:
    """1 + 2^-9 does not fit bf16: the sum must not be rounded to the checkpoint's type."""
    values = np.array([2.0**-9, -1.0, 0.5, 3.0], np.float32)
    raw = {
        "F32": values,
        "F16": values.astype(np.float16),
        "BF16": (values.view(np.uint32) >> 16).astype(np.uint16),
    }[kind].view(np.uint8)

    def rows(start: int, stop: int) -> np.ndarray:
        return raw.reshape(1, -1)[start:stop]

    tensor = with_offset(SourceTensor("norm.weight", kind, (4,), raw.nbytes, rows), 1.0)
    assert (tensor.kind, tensor.nbytes, tensor.shape) == ("F32", 16, (4,))
    np.testing.assert_array_equal(tensor.rows(0, 1).view(np.float32), [values + 1])
