"""What the plan tells the native core of types and groups."""

from __future__ import annotations

import pytest

from cactus.graph.plan import (
    BUFFER,
    DTYPES,
    HEADER,
    LEVELS,
    WEIGHT,
    Plan,
    build,
    with_int8_activations,
)
from cactus.graph.work import read_work
from cactus.weights.format.folder import PackedTensor
from cactus.weights.format.layout import tile_nbytes
from tests.models.golden import load, stored_dtype


def plan_of(name: str, dtype: str) -> Plan:
    graph = load(name).fused(dtype)
    matrices = {
        weight for node in graph.nodes if node.op in ("linear", "embed") for weight in node.weights
    }
    tensors = {}
    for weight, shape in graph.weights.items():
        rows, cols = shape if len(shape) == 2 else (1, *shape)
        kind = stored_dtype(dtype, cols) if weight in matrices else "f32"
        layout = "tile" if weight in matrices else "plain"
        nbytes = tile_nbytes(kind, rows, cols) if weight in matrices else 4 * rows * cols
        tensors[weight] = PackedTensor(kind, shape, rows, cols, 0, nbytes, layout)
    return build(graph, tensors, vocab_size=graph.outputs[0].width, context_length=64)


@pytest.mark.parametrize(
    ("name", "dtype", "groups"),
    [
        ("llama_untied", "f16", {0}),
        ("llama_untied", "q8", {0, 32}),
        ("llama_untied", "q4_64", {0, 64}),
        ("llama_untied", "q8_64", {0, 64}),
        # Its down_proj has 96 columns, in q4.
        ("llama", "q4_64", {0, 32, 64}),
    ],
)
def test_records_of_weights_and_buffers(name: str, dtype: str, groups: set[int]) -> None:
    plan = plan_of(name, dtype)
    weights, buffers = HEADER.unpack_from(plan.blob)[1:3]
    middle = HEADER.size + weights * WEIGHT.size
    dtypes = {record[0] for record in WEIGHT.iter_unpack(plan.blob[HEADER.size : middle])}
    assert DTYPES[dtype] in dtypes
    records = list(BUFFER.iter_unpack(plan.blob[middle : middle + buffers * BUFFER.size]))
    assert {record[0] for record in records} == groups
    assert [(b.group, b.width, b.output_rows) for b in plan.buffers] == [
        (group, width, bool(rows)) for group, width, rows, _ in records
    ]
    assert {record[3] for record in records if record[0]} <= {LEVELS["int12"]}
    assert {record[3] for record in records if not record[0]} == {0}
    # On request those of all rows have 8 bits, and nothing else changes.
    blob = with_int8_activations(plan.blob)
    again = list(BUFFER.iter_unpack(blob[middle : middle + buffers * BUFFER.size]))
    eight = [bool(group) and not wanted for group, _, wanted, _ in records]
    assert again == [
        (*record[:3], LEVELS["int8"] if few else record[3])
        for record, few in zip(records, eight, strict=True)
    ]
    assert any(eight) == (groups != {0})
    end = middle + buffers * BUFFER.size
    assert blob[:middle] == plan.blob[:middle] and blob[end:] == plan.blob[end:]


@pytest.mark.parametrize(("dtype", "bits"), [("q4", 0.5), ("q8", 0.25)])
def test_wide_groups_count_as_quantised_work(dtype: str, bits: float) -> None:
    wide, narrow = (read_work(plan_of("llama_untied", d).blob) for d in (f"{dtype}_64", dtype))
    assert wide.rows.floating == narrow.rows.floating == 0
    assert wide.rows.quantized == narrow.rows.quantized > 0
    # So many bits less for each weight.
    saved = narrow.rows.weight_bytes - wide.rows.weight_bytes
    assert 8 * saved == bits * wide.rows.quantized
