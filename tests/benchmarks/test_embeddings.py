"""The arithmetic of the benchmark of embeddings; no engine runs here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

BATCH = "256 texts of 128 tokens"
REFERENCE, FP16, INT8 = ("sentence-transformers", "f32"), ("ours", "FP16"), ("ours", "INT8")
BF16, FAST, WRONG = ("openvino", "bf16"), ("openvino", "int8"), ("onnxruntime", "int8")


@pytest.fixture
def report(load: Any) -> Any:
    return load("embedding_report")


@pytest.fixture
def found(report: Any) -> Any:
    """Rounds in which everything was once half as fast; one peer is fast and wrong."""
    found = report.Found()
    speeds = {REFERENCE: 4.0, FP16: 1.0, INT8: 0.5, BF16: 1.5, FAST: 0.9, WRONG: 0.3}
    for side, seconds in speeds.items():
        key = (BATCH, 1)
        found.seconds[side][key] = [seconds, 2 * seconds, seconds]
        found.memory[side][key] = [100.0 * seconds]
        found.vectors[side][key] = np.array([[3.0, 4.0], [0.0, 2.0]])
    found.vectors[WRONG][BATCH, 1] = np.array([[4.0, 3.0], [0.0, 2.0]])
    return found


def test_int8_is_compared_with_the_fastest_that_is_right_enough(report: Any, found: Any) -> None:
    assert found.cosine(WRONG, (BATCH, 1)) == pytest.approx((0.98, 0.96))
    lines = report.ratios(found, report.CASES["batch"], [1], cpu=False)
    assert lines == [
        "- 1 thread: FP16 1.50x OpenVINO bf16",
        "- 1 thread: INT8 1.80x openvino int8",
        "- memory: FP16 100 MB, INT8 50 MB; least of the others: 30 MB, onnxruntime",
    ]


def test_a_peer_that_ends_with_an_error_is_in_the_table_and_the_file(
    load: Any, report: Any, found: Any
) -> None:
    found.failed["llama.cpp", "Q8_0"][BATCH, 1] = "ended with status -11"
    table = report.text(found, report.CASES["batch"], [1], cpu=False)
    assert "| llama.cpp Q8_0 | ends with an error |" in table
    assert "| ours INT8 | 512 (256..512) | 50 | 1.00000, 1.0000 |" in table
    (failed,) = report.plain({}, found, load("rounds").Quiet(0))["failed"]
    assert (failed["side"], failed["error"]) == ("llama.cpp Q8_0", "ended with status -11")


def test_the_mean_leaves_padding_out(load: Any) -> None:
    states = np.array([[[3.0, 4.0], [100.0, 0.0]]])
    pooled = load("embedding_child").pooled(states, np.array([[1, 0]]))
    assert np.allclose(pooled, [[0.6, 0.8]])
