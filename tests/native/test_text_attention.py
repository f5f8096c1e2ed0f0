"""Attention of text encoders in bf16: every shape, in any company, and what is no number.

Where nothing multiplies bf16, the same of the best tier that there is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.native import programs
from tests.native.op_runs import compare, run_native, with_logits
from tests.native.programs import BF16_TIERS, ENCODER_TIER, open_on
from tests.ops.cases import Built, Case, Chunks, build

MAX_QUERIES = 16
"""That attend together to a span."""


def case_of(
    head_dim: int, rows: tuple[int, ...], group: int = 1, reach: int = 0, **options: Any
) -> Case:
    """Two key/value heads of texts of so many rows."""
    attrs = {"heads": 2 * group, "kv_heads": 2, "head_dim": head_dim, "reach": reach}
    attrs |= {
        "scale": head_dim**-0.5,
        "inv_freq": (),
        "axes": (),
        "rope_scale": 1.0,
        "norm_eps": None,
    }
    chunks: Chunks = tuple((count,) for count in rows)
    width = 2 * (group + 2) * head_dim
    return Case("bidirectional_attention", (width,), (), attrs, chunks, **options)


SHAPES = [
    case_of(32, (1, 2, 15, 16, 17, 31, 33, 64, 129)),
    case_of(64, (2000,)),
    case_of(64, (513, 1), 4, 64),
    case_of(16, (33, 129), 4),
    case_of(16, (300,), 1, 1),
    case_of(48, (64, 31), 1, 16),
    case_of(80, (17, 513), 3),
    case_of(128, (2, 129), 4, 16),
    case_of(256, (33,), 4, 1),
    case_of(512, (15, 300)),
]


@pytest.mark.parametrize("case", SHAPES, ids=lambda case: case.id)
def test_every_shape_with_any_number_of_threads(case: Case, ops_folder: Path) -> None:
    runs = compare(case, ops_folder, "f32", *(open_on(ENCODER_TIER, threads=n) for n in (1, 2, 3)))
    for got in runs[1:]:
        np.testing.assert_array_equal(got, runs[0])


@pytest.mark.parametrize("reach", [0, 16])
def test_a_text_has_the_same_bits_in_any_company(reach: int, tmp_path: Path) -> None:
    together = build(case_of(32, (5, 129, 300, 33), 1, reach))
    got, at = run(together, tmp_path), 0
    for tokens in together.steps[0]:
        alone = Built(case_of(32, (len(tokens),)), together.graph, together.tensors, [[tokens]])
        np.testing.assert_array_equal(run(alone, tmp_path), got[at : at + len(tokens)])
        at += len(tokens)


def run(built: Built, folder: Path) -> np.ndarray:
    graph = with_logits(built)
    packed = programs.store(graph, built.tensors, folder / "weights")
    return run_native(built, packed, graph, open_on(ENCODER_TIER))


@pytest.mark.parametrize("reach", [0, 16, 40])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
def test_what_is_no_number_reaches_only_who_sees_it(
    reach: int, value: float, tmp_path: Path
) -> None:
    rows, bad, head_dim = 150, 47, 16
    built = build(case_of(head_dim, (rows,), 1, reach, outputs="none"))
    # The row of its own token, with numbers of a size at which every weight counts.
    tokens = np.arange(rows) % 47
    tokens[70] = bad
    built.steps[0][0][:] = tokens.tolist()
    table = built.tensors["input0"]
    table /= np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-3)
    clean = run(built, tmp_path)
    sees = np.abs(np.arange(rows) - 70) <= (reach or rows)
    for part, name in enumerate("qkv"):
        old = table[bad, part * 2 * head_dim + 3]
        table[bad, part * 2 * head_dim + 3] = value  # of the first head
        got = run(built, tmp_path)
        table[bad, part * 2 * head_dim + 3] = old
        reached = np.zeros(got.shape, bool)
        if name == "q":
            reached[70, :head_dim] = True
        elif name == "k":
            reached[sees, :head_dim] = True
        else:
            reached[sees, 3] = True
        if name == "v" and not BF16_TIERS:
            # A weight of nothing times no number is none: it reaches those beside who sees it.
            assert not np.isfinite(got[reached]).any()
            reached[np.abs(np.arange(rows) - 70) <= (reach or rows) + MAX_QUERIES, 3] = True
        elif name == "v":
            np.testing.assert_array_equal(got[reached], np.float32(value))
        elif np.isnan(value) or name == "q":
            assert np.isnan(got[reached]).all()
        np.testing.assert_array_equal(got[~reached], clean[~reached])
