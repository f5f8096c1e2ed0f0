"""Plans that are wrong: refused with the record's name, whatever they would have done."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from cactus.errors import NativeError
from cactus.graph.dtypes import DTYPES
from cactus.native import Program, Row
from cactus.weights.format.layout import GROUPS, tile_nbytes
from tests.native.plan_forge import Forge, floats


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


def test_features_read_no_memory_that_nobody_stored(zeros: Path) -> None:
    plan, rows = features_plan(48)
    out, slot = plan.buffer(16), plan.slot("memory", 1, 16)
    integers, floats = (1, 1, 16), (0.25,)
    plan.step("memory_attention", ((rows, 0),), out, slot=slot, integers=integers, floats=floats)
    with pytest.raises(NativeError, match="step 1: reads a memory that no step before it"):
        run_features(plan.outputs(out), zeros, 3, 48)


@pytest.mark.parametrize("dtype", GROUPS)
def test_weights_read_what_is_quantised_in_their_groups(zeros: Path, dtype: str) -> None:
    for group in (32, 64):
        plan, rows = features_plan(64)
        plan.buffers.append((group, 64, 0, 2))
        plan.step("quantize", ((rows, 0),), 1)
        plan.weights.append((DTYPES[dtype], 16, 64, 1, 0, tile_nbytes(dtype, 16, 64)))
        out = plan.buffer(16)
        plan.step("linear", ((1, 0),), out, weight=0)
        blob = plan.outputs(out)
        if group == GROUPS[dtype]:
            run_features(blob, zeros, 40, 64)
            continue
        with pytest.raises(NativeError, match="step 2: input is quantised in other groups"):
            run_features(blob, zeros, 40, 64)


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """A weights file that says 64 MiB and holds nothing."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    return path


def tokens_plan(width: int) -> tuple[Forge, int]:
    plan = Forge()
    plan.weights.append((0, 16, width, 1, 0, 64 * width))
    rows = plan.buffer(width)
    plan.step("embed", (), rows, weight=0)
    return plan, rows


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def refused_without_taking_memory(blob: bytes, path: Path, match: str, chunk: int = 256) -> None:
    assert len(blob) < 1000
    before = resident_bytes()
    with pytest.raises(NativeError, match=match):
        Program(blob, path, threads=2, chunk=chunk)
    assert resident_bytes() - before < 16 << 20


def test_buffers_that_the_weights_do_not_justify(zeros: Path) -> None:
    """Wide rows of features need no weight at all; 256 of them would take 2 GiB."""
    plan, rows = features_plan(1 << 21)
    match = r"plan: its buffers take 2\d+\.\d MiB, weights of 0\.0 MiB justify 128\.0 MiB"
    refused_without_taking_memory(plan.outputs(rows), zeros, match)


def test_a_convolution_that_the_weights_do_not_justify(sparse: Path) -> None:
    """Its scratch rows would take 512 MiB when it is loaded, its past 100 MiB for each session."""
    width = 1 << 19
    plan, rows = tokens_plan(width)
    out = plan.buffer(width)
    slot = plan.slot("conv", width, 16)
    plan.step("causal_conv1d", ((rows, 0),), out, weight=plan.weight(width, 16), slot=slot)
    refused_without_taking_memory(plan.outputs(out), sparse, "plan: its buffers take")


@pytest.mark.parametrize(
    ("slot", "match"),
    [
        (("kv", 4096, 4096), "pages of its state take"),
        (("memory", 4096, 4096), "pages of its memory take"),
        (("conv", 1 << 20, 2), "the convolutions of its state take"),
    ],
)
def test_state_that_the_weights_do_not_justify(
    zeros: Path, slot: tuple[str, int, int], match: str
) -> None:
    plan, rows = tokens_plan(16)
    plan.slot(*slot)
    refused_without_taking_memory(plan.outputs(rows), zeros, match)


def rotary_plan(steps: int, head_dim: int) -> bytes:
    """Every step turns by the same frequencies at a scale of its own."""
    plan, rows = tokens_plan(head_dim)
    plan.constants = floats([0.5] * (head_dim // 2))
    for n in range(steps):
        scales, rotary = (0.0, 1.0 + n), (0, head_dim // 2)
        plan.step(
            "rope", ((rows, 0),), rows, integers=(0, 0, head_dim), floats=scales, rotary=rotary
        )
    return plan.outputs(rows)


def test_tables_of_rotary_frequencies_are_counted(zeros: Path) -> None:
    with pytest.raises(NativeError, match="plan: its buffers take"):
        Program(rotary_plan(200, 1024), zeros, threads=1, chunk=1024)


def test_many_different_rotary_scales(zeros: Path) -> None:
    """Finding each of them among the others must not take time by the square of their number."""
    with Program(rotary_plan(60_000, 16), zeros, threads=1, chunk=1) as program:
        assert program.step([Row(program.session(), [1])], want_logits=True)[0].logits is not None


def test_more_records_than_any_plan_has(zeros: Path) -> None:
    with pytest.raises(NativeError, match="more than 65536 steps"):
        Program(rotary_plan(70_000, 16), zeros, threads=1, chunk=1)


def whole_texts_plan(head_dim: int = 16) -> tuple[Forge, int]:
    """Attention over whole texts, one head; its queries are its keys and values."""
    plan, rows = tokens_plan(3 * head_dim)
    out = plan.buffer(head_dim)
    op, integers = "bidirectional_attention", (1, 1, head_dim)
    plan.step(op, ((rows, 0),), out, integers=integers, floats=(0.25,))
    return plan, out


def test_whole_texts_have_no_past(zeros: Path) -> None:
    plan, out = whole_texts_plan()
    again, slot = plan.buffer(16), plan.slot("kv", 1, 16)
    inputs = ((out, 0), (out, 0), (out, 0))
    plan.step("attention", inputs, again, slot=slot, integers=(1, 1, 16), floats=(0.25,))
    with pytest.raises(NativeError, match="step 2: has a past, beside attention to whole texts"):
        Program(plan.outputs(again), zeros)


def test_sessions_of_whole_texts_take_no_pages(zeros: Path) -> None:
    plan, out = whole_texts_plan()
    plan.slot("kv", 1, 16)  # as a program has that shares the sessions of another
    with Program(plan.outputs(out), zeros, chunk=300) as program, program.session() as session:
        for count in (300, 1, 300):
            program.step([Row(session, [1] * count, "all")])
        assert (program.kv_bytes, session.length) == (0, 0)


@pytest.mark.parametrize("heads", [(2, 1, 16), (1, 1, 24), (3, 2, 16), (1, 1, 16, 0, -1)])
def test_whole_texts_of_other_heads(zeros: Path, heads: tuple[int, ...]) -> None:
    plan, out = whole_texts_plan()
    plan.steps[1][14 : 14 + len(heads)] = heads
    with pytest.raises(NativeError, match="plan: step 1: "):
        Program(plan.outputs(out), zeros)


def experts_plan(*integers: int) -> bytes:
    """Four experts of 16 columns, of which each row asks two; or what the integers say."""
    plan, rows = tokens_plan(16)
    out = plan.buffer(16)
    plan.step("experts", ((rows, 0), (rows, 0)), out, integers=integers, floats=(1.0,))
    plan.weights += [(0, 64, 16, 1, 1024, 4096)] * 2
    plan.steps[1][8:10], plan.steps[1][12] = [1, 2], 2
    return plan.outputs(out)


def test_experts_run(zeros: Path) -> None:
    with Program(experts_plan(4, 2, 0, 1, 0, 2), zeros) as program:
        assert len(program.step([Row(program.session(), [1] * 30, "all")])) == 30


@pytest.mark.parametrize(
    ("integers", "match"),
    [
        ((0, 1, 0, 0, 0, 2), "an integer is out of range"),
        ((4, 5, 0, 0, 0, 2), "an integer is out of range"),
        ((4, 0, 0, 0, 0, 2), "an integer is out of range"),
        ((4, 2, 2, 0, 0, 2), "an integer is out of range"),
        ((4, 2, 0, 0, 0, 0), "an integer is out of range"),
        ((3, 2, 0, 0, 0, 2), "weights are not those of so many experts"),
        ((4, 2, 0, 0, 1, 2), "weights are not those of so many experts"),
    ],
)
def test_experts_that_do_not_fit(zeros: Path, integers: tuple[int, ...], match: str) -> None:
    with pytest.raises(NativeError, match=f"plan: step 1: {match}"):
        Program(experts_plan(*integers), zeros)
