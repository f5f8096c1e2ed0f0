"""The tiers for arm64 in an emulator: every op, the tiny checkpoints, the exact equalities."""

from __future__ import annotations

import shutil
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cactus.errors import NativeError
from cactus.graph.node import Graph
from cactus.graph.plan import build
from cactus.native import Program, Row
from cactus.weights.format.layout import GROUPS
from tests.models import golden, whisper
from tests.native import programs
from tests.native.arm64.conftest import COMPILE, COMPILER, EMULATOR, Arm64
from tests.native.conftest import Expected, Packed
from tests.native.op_runs import MATRIX_DTYPES, compare, fits
from tests.native.programs import EXACT_TIERS, open_on
from tests.native.remote import Machine, RemoteProgram
from tests.ops.cases import CASES
from tests.tolerances import assert_close

BACKGROUND = [COMPILE] if shutil.which(COMPILER) and shutil.which(EMULATOR) else []
ARM = ("neon", "neon_i8mm")
FUSING = next((tier for tier in reversed(EXACT_TIERS) if tier not in ("scalar", "amx")), None)
"""A tier of this machine that fuses multiply-adds, as those of arm64 do. amx multiplies weights of
16 bits in another way."""

tiers = pytest.mark.parametrize("isa", ARM)
names = pytest.mark.parametrize("name", golden.NAMES)
dtypes = pytest.mark.parametrize("dtype", MATRIX_DTYPES)


def load(
    machine: Machine,
    graph: Graph,
    packed: programs.Store,
    activations: str = "int12",
    **options: Any,
) -> RemoteProgram:
    plan = programs.plan_of(graph, packed, activations=activations)
    return machine.program(plan.blob, packed.path, **options)


def all_equal(results: list[np.ndarray]) -> None:
    for got in results[1:]:
        np.testing.assert_array_equal(got, results[0])


@pytest.mark.parametrize(
    ("cpu", "want"),
    [
        ("cortex-a57", ["scalar"]),
        ("cortex-a76", ["scalar", "neon"]),
        ("max", ["scalar", "neon", "neon_i8mm"]),
    ],
)
def test_the_choice_of_a_tier(arm64: Arm64, cpu: str, want: list[str], packed: Packed) -> None:
    machine = arm64.start(cpu)
    assert machine.tiers() == want
    store = packed("llama", "q4")
    graph = programs.fused(golden.load("llama").graph, "q4")
    with load(machine, graph, store) as program:
        assert program.info.isa.decode() == want[-1]
    for isa in {*ARM, "avx2"} - set(want):
        with pytest.raises(NativeError, match=f"possible: {', '.join(reversed(want))}$"):
            load(machine, graph, store, isa=isa)
    machine.close()


@pytest.mark.parametrize("tier", ["scalar", *ARM])
def test_kernel_objects_export_only_their_table(arm64: Arm64, tier: str) -> None:
    folder = arm64.remote.parent / "CMakeFiles/cactus.dir/native/src/cpu"
    command = ["aarch64-linux-gnu-nm", "-C", "--defined-only", "--extern-only"]
    out = subprocess.check_output([*command, folder / f"kernels_{tier}.cpp.o"], text=True)
    assert [line.split(maxsplit=2)[2] for line in out.splitlines()] == [f"cactus::kernels_{tier}"]


@pytest.mark.parametrize("op", sorted(CASES))
def test_op(op: str, machine: Machine, ops_folder: Path) -> None:
    """Against the reference, and both tiers to the bit alike, also as on x86."""
    runs = [partial(machine.program, isa=isa) for isa in ARM]
    if FUSING:
        runs.append(open_on(FUSING))
    for case in CASES[op]:
        all_equal(compare(case, ops_folder, "f32", *runs))


@pytest.mark.parametrize("op", ["attention", "qkv_attention", "memory_scores"])
def test_attention_over_int8(op: str, machine: Machine, ops_folder: Path) -> None:
    runs = [partial(machine.program, isa=isa) for isa in ARM]
    if FUSING:
        runs.append(open_on(FUSING))
    for case in CASES[op]:
        all_equal(compare(case, ops_folder, "f32", *runs, kv="int8"))


@pytest.mark.parametrize("dtype", [dtype for dtype in MATRIX_DTYPES if dtype in GROUPS])
def test_linear_of_int8_activations(dtype: str, machine: Machine, ops_folder: Path) -> None:
    runs = [partial(machine.program, isa=isa) for isa in ARM]
    if FUSING:
        runs.append(open_on(FUSING))
    for case in CASES["linear"]:
        if fits(case, dtype):
            all_equal(compare(case, ops_folder, dtype, *runs, activations="int8"))


@dtypes
def test_linear_of_every_type(dtype: str, machine: Machine, ops_folder: Path) -> None:
    runs = [partial(machine.program, isa=isa) for isa in ARM]
    if FUSING:
        runs.append(open_on(FUSING))
    for case in CASES["linear"]:
        if fits(case, dtype):
            all_equal(compare(case, ops_folder, dtype, *runs))


@tiers
@names
def test_every_node(name: str, isa: str, machine: Machine, packed: Packed) -> None:
    checkpoint, store = golden.load(name), packed(name, "f32")
    plan = programs.plan_of(checkpoint.graph, store, keep=True)
    with machine.program(plan.blob, store.path, isa=isa) as program:
        program.step([Row(program.session(), checkpoint.tokens, "all")])
        values = programs.dump(plan, program, len(checkpoint.tokens))
    assert golden.check_nodes(checkpoint, values, "f16") == len(checkpoint.nodes)


@dtypes
@names
def test_fused_graph(
    name: str, dtype: str, machine: Machine, packed: Packed, expected: Expected
) -> None:
    checkpoint, store = golden.load(name), packed(name, dtype)
    graph = programs.fused(checkpoint.graph, dtype)
    want = expected(name, dtype, "int12")
    results = []
    for isa in ("scalar", *ARM):
        with load(machine, graph, store, isa=isa) as program:
            results.append(golden.run_all(program, checkpoint.tokens))
        assert_close(results[-1], want, "q12", f"{name} {dtype} {isa}")
    all_equal(results[1:])


@tiers
@names
def test_greedy_continuation(name: str, isa: str, machine: Machine, packed: Packed) -> None:
    checkpoint = golden.load(name)
    graph = programs.fused(checkpoint.graph, "f32")
    with load(machine, graph, packed(name, "f32"), isa=isa) as program:
        got = golden.greedy(program, checkpoint.tokens, len(checkpoint.greedy))
    assert got == checkpoint.greedy


@tiers
@pytest.mark.parametrize(
    ("name", "dtype", "activations"),
    [
        *(
            ("llama", dtype, "int12")
            for dtype in ("q4", "q4_64", "q4_0", "q4_nl", "q8", "q8_64", "f16")
        ),
        *(("llama", dtype, "int8") for dtype in ("q4", "q8", "q8_64")),
        # Its convolutions know nothing of how weights are stored.
        *(("lfm2", "q4", "int12"), ("lfm2", "q8", "int8"), ("lfm2", "f16", "int12")),
    ],
)
def test_chunks_and_threads_do_not_change_a_bit(
    name: str, dtype: str, activations: str, isa: str, machine: Machine, packed: programs.Pack
) -> None:
    graph, store = programs.fused(golden.load(name).graph, dtype), packed(name, dtype)
    results = []
    for threads, chunk in ((1, 270), (2, 64), (2, 7)):
        options = {"isa": isa, "threads": threads, "chunk": 512}
        with load(machine, graph, store, activations, **options) as program:
            tokens = np.random.default_rng(1).integers(0, program.vocab_size, 270).tolist()
            session = program.session()
            first = programs.prefill(program, session, tokens[:262], chunk)
            # Decoding over two pages is split by pages between the threads.
            rest = programs.prefill(program, session, tokens[262:], 1)
            results.append(np.concatenate([first, rest]))
    all_equal(results)


@tiers
def test_an_encoder_and_its_decoder(arm64: Arm64, isa: str, tmp_path: Path) -> None:
    checkpoint = whisper.load()
    graphs = checkpoint.decoder, checkpoint.encoder
    weights = graphs[0].weights | graphs[1].weights
    both = Graph(graphs[0].nodes + graphs[1].nodes, (), graphs[0].slots, weights)
    packed = programs.store(both, checkpoint.tensors, tmp_path / "weights", "q8")
    fused = [programs.fused(graph, "q8") for graph in graphs]
    plans = [
        build(graph, packed.tensors, vocab_size=size, context_length=50)
        for graph, size in zip(fused, (320, 0), strict=True)
    ]

    def logits(make: Any) -> np.ndarray:
        with (
            make(plans[0].blob, packed.path) as decoder,
            make(plans[1].blob, packed.path, shares=decoder) as encoder,
        ):
            session = decoder.session()
            encoder.step([Row(session, outputs="none", features=checkpoint.features)])
            outputs = decoder.step([Row(session, checkpoint.tokens, "all")], want_logits=True)
            return programs.logits_of(outputs)

    machine = arm64.start("max")

    got = logits(partial(machine.program, isa=isa))
    machine.close()
    np.testing.assert_array_equal(got, logits(partial(Program, isa=FUSING)))
