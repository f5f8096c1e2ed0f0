"""What lies between the files that are read and the tensors that are stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cactus.weights.convert import convert
from cactus.weights.locate import describe
from cactus.weights.sources.source import SourceTensor, with_offset
from tests.weights.forge import STRING, tiny_llama
from tests.weights.made import small_checkpoint, write, write_checkpoint


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


def test_the_license_is_kept_where_the_source_names_one(tmp_path: Path) -> None:
    model = tiny_llama("F16")
    model.set("general.license", STRING, "apache-2.0")
    convert(write(tmp_path, model), tmp_path / "gguf")
    assert describe(tmp_path / "gguf")["license"] == "apache-2.0"
    config, tensors = small_checkpoint()
    write_checkpoint(tmp_path / "folder", config, tensors)
    convert(tmp_path / "folder", tmp_path / "without")
    assert "license" not in describe(tmp_path / "without")
    card = tmp_path / "folder" / "README.md"
    for text, found in [
        ("---\nlanguage: en\nlicense: mit\n---\n# A model\n", "mit"),
        ('---\r\nlicense: "gpl-3.0"\r\n---\r\n', "gpl-3.0"),
        ("license: mit\n", None),
        ("---\nlicense: \x1b[31m\n---\n", None),
        ("x" * (2 << 20), None),
    ]:
        card.write_text(text, newline="")
        convert(tmp_path / "folder", tmp_path / "out")
        assert describe(tmp_path / "out").get("license") == found
