"""What a core on another system must give: the tokens of transformers, and the bits of this one."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from tests.models import golden
from tests.native import programs
from tests.native.conftest import Packed
from tests.native.op_runs import compare, fits
from tests.native.programs import open_on
from tests.native.remote import Machine
from tests.ops.cases import CASES


def check_greedy(machine: Machine, name: str, isa: str, packed: Packed) -> None:
    """A tiny checkpoint's greedy continuation is that of transformers."""
    checkpoint, store = golden.load(name), packed(name, "f32")
    plan = programs.plan_of(programs.fused(checkpoint.graph, "f32"), store)
    with machine.program(plan.blob, store.path, isa=isa, threads=2) as program:
        assert program.info.isa.decode() == isa
        got = golden.greedy(program, checkpoint.tokens, len(checkpoint.greedy))
    assert got == checkpoint.greedy


def check_op(machine: Machine, op: str, isa: str, folder: Path) -> None:
    """Each case of an op gives the bits that it gives here."""
    for case in CASES[op]:
        there, here = compare(case, folder, "f32", partial(machine.program, isa=isa), open_on(isa))
        np.testing.assert_array_equal(there, here)


def check_linear(machine: Machine, dtype: str, isa: str, folder: Path) -> None:
    """Products with weights of one type give the bits that they give here."""
    run = partial(machine.program, isa=isa, threads=2)
    for case in CASES["linear"]:
        if fits(case, dtype):
            there, here = compare(case, folder, dtype, run, open_on(isa))
            np.testing.assert_array_equal(there, here)
