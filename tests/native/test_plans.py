"""Plans that are wrong: refused with the record's name, whatever they would have done."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cactus.errors import NativeError
from cactus.native import Program, Row
from tests.native.plan_forge import Forge


@pytest.fixture
def zeros(tmp_path: Path) -> Path:
    """A weights file of 64 KiB of zeros."""
    path = tmp_path / "weights"
    path.write_bytes(bytes(1 << 16))
    return path


def features_plan(width: int) -> tuple[Forge, int]:
    plan = Forge(features=width)
    rows = plan.buffer(width)
    plan.step("features", (), rows)
    return plan, rows


def run_features(blob: bytes, path: Path, rows: int, width: int) -> None:
    with Program(blob, path, threads=2, chunk=max(rows, 256)) as program:
        program.step([Row(program.session(), features=np.zeros((rows, width), np.float32))])


@pytest.mark.parametrize("op", ["attention", "qkv_attention"])
def test_features_have_no_past_to_attend_to(zeros: Path, op: str) -> None:
    plan, rows = features_plan(48)
    out = plan.buffer(16)
    inputs = ((rows, 0), (rows, 16), (rows, 32)) if op == "attention" else ((rows, 0),)
    slot = plan.slot("kv", 1, 16)
    plan.step(op, inputs, out, slot=slot, integers=(1, 1, 16), floats=(0.25,))
    with pytest.raises(NativeError, match="step 1: needs tokens, has rows of features"):
        run_features(plan.outputs(out), zeros, 3, 48)


@pytest.mark.parametrize("op", ["causal_conv1d", "short_conv"])
def test_features_have_no_past_to_convolve(zeros: Path, op: str) -> None:
    plan, rows = features_plan(48)
    width = 48 if op == "causal_conv1d" else 16
    out = plan.buffer(width)
    slot = plan.slot("conv", width, 3)
    plan.step(op, ((rows, 0),), out, weight=plan.weight(width, 3), slot=slot)
    with pytest.raises(NativeError, match="step 1: needs tokens, has rows of features"):
        run_features(plan.outputs(out), zeros, 300, 48)
